//! Elementary functions as fixed sequences of basic operations, each written once (N8).

mod exp;

pub(crate) use exp::exp;
