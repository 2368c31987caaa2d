//! Warnings.

use crate::file::File;
use crate::mistake::Mistakes;
use crate::resolve::Draft;
pub(crate) fn lint(_file: &File, _draft: &Draft, _out: &mut Mistakes) {}
