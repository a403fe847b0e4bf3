//! The `time` tool: what the clock says, where the user is or elsewhere.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Done, invalid};
use crate::outcome::ToolOutcome;
use crate::tool::{BoxFuture, CallContext, Effects, Scope, Tool, ToolSpec, parse};

const ABOUT: &str = "Tells the present date and time: weekday, date, time of day, time zone and UTC offset. By the user's own \
                     clock unless another time zone is named.";

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// IANA name of another time zone, such as Asia/Tokyo.
    #[schemars(length(max = 64))]
    timezone: Option<String>,
}

struct Time(ToolSpec);

pub(super) fn tool(timeout: Duration) -> Arc<dyn Tool> {
    Arc::new(Time(ToolSpec::built_in::<Arguments>("time", ABOUT, Scope::Core, timeout)))
}

impl Tool for Time {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn effects(&self, _: &Value) -> Effects {
        Effects::ReadOnly
    }

    fn call<'a>(&'a self, cx: &'a CallContext, arguments: Value) -> BoxFuture<'a, ToolOutcome> {
        Box::pin(std::future::ready(tell(cx, arguments).unwrap_or_else(|refused| refused)))
    }
}

fn tell(cx: &CallContext, arguments: Value) -> Done {
    let Arguments { timezone } = parse(arguments)?;
    let zone = match timezone.as_deref().map(str::trim) {
        None => cx.zone.clone(),
        Some(name) => {
            TimeZone::get(name).map_err(|_| invalid(format!("There is no time zone '{}'.", super::line(name, 64))))?
        }
    };
    // A long turn is later than it began.
    let now = Timestamp::now().to_zoned(zone);
    let name = now.time_zone().iana_name().unwrap_or("local time").to_owned();
    let text = format!(
        "{} ({name}, {}, UTC{})\nISO 8601: {}",
        now.strftime("%A, %-d %B %Y, %-I:%M %p"),
        now.strftime("%Z"),
        now.strftime("%:z"),
        now.strftime("%Y-%m-%dT%H:%M:%S%:z"),
    );
    let data = json!({"iso": now.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(), "timezone": name});
    Ok(ToolOutcome::success(text).with_data(data))
}
