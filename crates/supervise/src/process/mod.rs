//! Child processes of this program: started, signalled and reaped in one place.

mod image;
mod output;
mod reaper;

pub(crate) use image::{OWN_IMAGE, own_image};
pub(crate) use output::{PipeReader, discard};
pub(crate) use reaper::{GroupAtExit, Process, Reaper, with_output_pipes};
