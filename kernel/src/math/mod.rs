//! Elementary functions as fixed sequences of basic operations, each written once (N8).

mod exp;
mod ln;

pub(crate) use exp::exp;
pub(crate) use ln::ln;
