//! The room's SQL: one repository per aggregate. Times and names come from the caller.

mod model_overrides;
mod profiles;
mod settings;

pub(crate) use model_overrides::{ModelOverride, ModelOverrideRepository};
pub(crate) use profiles::ProfileRepository;
pub(crate) use settings::SettingRepository;
pub use settings::{SettingFilter, SettingRow};
