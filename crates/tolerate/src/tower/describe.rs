//! What a request is as a call: its name, whether it may be made twice, how important it is, until when somebody waits.
//!
//! A constant [`Call`] where all requests are of one kind, or a closure that looks at each.

use crate::Call;

/// Says what kind of call a request is.
pub trait DescribeCall<Q> {
    /// The call.
    fn call(&self, request: &Q) -> Call;

    /// What it is called where there is no request yet.
    fn name(&self) -> &'static str {
        "request"
    }
}

impl<Q> DescribeCall<Q> for Call {
    fn call(&self, _: &Q) -> Call {
        *self
    }

    fn name(&self) -> &'static str {
        Self::name(self)
    }
}

impl<Q, F: Fn(&Q) -> Call> DescribeCall<Q> for F {
    fn call(&self, request: &Q) -> Call {
        self(request)
    }
}
