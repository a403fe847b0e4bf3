//! The room's SQL: one repository per aggregate. Times come from the caller. Whoever changes attributes holds the row lock
//! of their profile ([`ProfileRepository::lock_on`]), so that what a statement read is what it changes.

mod attributes;
mod forget;
mod profiles;

pub(crate) use attributes::{AttributeRepository, Which};
pub(crate) use forget::ForgetRepository;
pub(crate) use profiles::ProfileRepository;
