//! The `model` tool: which model answers, which ones there are, and choosing another for what comes next.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Done, line, needed, not_found};
use crate::desk::{DeskError, DeskModel, ModelDesk};
use crate::outcome::{ErrorKind, ToolOutcome};
use crate::tool::{BoxFuture, CallContext, Effects, Scope, Tool, ToolSpec, parse};

const ABOUT: &str = "Tells which language model answers now, lists the models there are, or chooses another one for this user, \
                     which answers from the next message on.";
/// Models that an answer lists.
const MOST: usize = 200;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// What to do.
    #[serde(default)]
    action: Action,
    /// Name of the model to switch to.
    #[schemars(length(max = 128))]
    model_name: Option<String>,
}

#[derive(Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Action {
    #[default]
    Current,
    List,
    Switch,
}

struct Model {
    spec: ToolSpec,
    desk: Arc<dyn ModelDesk>,
}

pub(super) fn tool(desk: Arc<dyn ModelDesk>, timeout: Duration) -> Arc<dyn Tool> {
    Arc::new(Model { spec: ToolSpec::built_in::<Arguments>("model", ABOUT, Scope::Models, timeout), desk })
}

impl Tool for Model {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn effects(&self, arguments: &Value) -> Effects {
        match arguments["action"].as_str() {
            Some("switch") => Effects::Idempotent,
            _ => Effects::ReadOnly,
        }
    }

    fn call<'a>(&'a self, cx: &'a CallContext, arguments: Value) -> BoxFuture<'a, ToolOutcome> {
        Box::pin(async { self.serve(cx, arguments).await.unwrap_or_else(|refused| refused) })
    }
}

impl Model {
    async fn serve(&self, cx: &CallContext, arguments: Value) -> Done {
        let Arguments { action, model_name } = parse(arguments)?;
        match action {
            Action::Current => {
                let model = self.desk.current(&cx.bot, &cx.user).await?;
                Ok(ToolOutcome::success(format!("The model in use is {}.", told(&model))).with_data(data(&model)))
            }
            Action::List => {
                let mut models = self.desk.list(&cx.bot, &cx.user).await?;
                models.sort_by(|a, b| a.alias.cmp(&b.alias));
                let lines: Vec<String> = models.iter().take(MOST).map(|model| format!("- {}", told(model))).collect();
                let text = format!("Models ({}):\n{}", models.len(), lines.join("\n"));
                Ok(ToolOutcome::success(text).with_data(models.iter().take(MOST).map(data).collect()))
            }
            Action::Switch => {
                let name = needed(model_name, "model_name", "switch")?;
                let model = self.desk.switch(&cx.bot, &cx.user, name.trim()).await?;
                let text = match model.current {
                    true => format!("{} is the model in use already.", model.alias),
                    false => format!("{} answers from the next message on.", told(&model)),
                };
                Ok(ToolOutcome::success(text).with_data(data(&model)))
            }
        }
    }
}

fn told(model: &DeskModel) -> String {
    let mut about = vec![line(&model.kind, 40)];
    about.extend(model.model_id.as_deref().map(|id| line(id, 120)));
    about.extend(model.description.as_deref().map(|text| line(text, 200)).filter(|text| !text.is_empty()));
    let current = if model.current { " [in use]" } else { "" };
    format!("{} ({}){current}", line(&model.alias, 128), about.join("; "))
}

fn data(model: &DeskModel) -> Value {
    json!({"alias": model.alias, "type": model.kind, "model_id": model.model_id, "current": model.current})
}

impl From<DeskError> for ToolOutcome {
    fn from(error: DeskError) -> Self {
        match error {
            DeskError::Unknown { known } => {
                let known: Vec<String> = known.iter().take(MOST).map(|alias| line(alias, 128)).collect();
                not_found(format!("There is no model of this name. There are: {}.", known.join(", ")))
            }
            DeskError::Refused(why) => ToolOutcome::failed(ErrorKind::NotAvailable, why),
            DeskError::Unavailable => {
                ToolOutcome::failed(ErrorKind::NotAvailable, "Nothing can be said about models now.")
            }
        }
    }
}
