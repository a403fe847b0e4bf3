//! Bots as answers show them: the listing that UIs and bridges read, and the profile that an editor reads.
//!
//! Invariant: to anybody but an administrator every secret inside a configuration object is masked.

use greenroom_protocol::BotSlug;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::directory::Bot;
use crate::mask::masked;
use crate::profile::scope_word;
use greenroom_protocol::time::wire_time;

/// Who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Sees secrets.
    Admin,
    /// Sees that there are secrets.
    Reader,
}

impl Audience {
    fn show(self, config: Option<&Map<String, Value>>) -> Option<Map<String, Value>> {
        match self {
            Self::Admin => config.cloned(),
            Self::Reader => config.map(masked),
        }
    }
}

/// An entry of the bot list (http-api §8.7).
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the names are those of the wire, and of the profile they come from")]
pub struct BotView {
    pub slug: BotSlug,
    pub name: String,
    pub description: String,
    pub system_prompt: String,
    pub requires_memory: bool,
    pub voice_optimized: bool,
    pub tts_mode: bool,
    pub include_summaries: bool,
    pub default_voice: Option<String>,
    pub uses_tools: bool,
    pub uses_search: bool,
    pub uses_home_assistant: bool,
    pub default_model: Option<String>,
    pub color: Option<String>,
    pub avatar: Option<String>,
    pub bot_type: &'static str,
    pub agent_backend: Option<String>,
    pub agent_backend_config: Map<String, Value>,
    pub settings: Map<String, Value>,
}

/// A profile (http-api §9.2).
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the names are those of the wire, and of the profile they come from")]
pub struct BotProfileView {
    pub slug: BotSlug,
    pub name: String,
    pub description: String,
    pub system_prompt: String,
    pub requires_memory: bool,
    pub voice_optimized: bool,
    pub tts_mode: bool,
    pub include_summaries: bool,
    pub uses_tools: bool,
    pub uses_search: bool,
    pub uses_home_assistant: bool,
    pub default_model: Option<String>,
    pub color: Option<String>,
    pub avatar: Option<String>,
    pub default_voice: Option<String>,
    pub nextcloud_config: Option<Map<String, Value>>,
    pub bot_type: &'static str,
    pub agent_backend: Option<String>,
    pub agent_backend_config: Option<Map<String, Value>>,
    pub tools_allow: Option<Vec<String>>,
    pub tools_deny: Vec<String>,
    pub model_fallbacks: Vec<String>,
    pub history_scope: &'static str,
    pub timezone: Option<String>,
    pub settings: Map<String, Value>,
    pub created_at: String,
    pub updated_at: String,
}

impl Bot {
    /// The bot as the list shows it. Colour and voice fall back to the settings.
    #[must_use]
    pub fn view(&self, audience: Audience) -> BotView {
        let it = self.character().clone();
        let or_setting = |own: Option<String>, key: &str| own.or_else(|| self.settings.text(key).map(str::to_owned));
        BotView {
            slug: self.slug().clone(),
            name: it.name,
            description: it.description,
            system_prompt: it.system_prompt,
            requires_memory: it.requires_memory,
            voice_optimized: it.voice_optimized,
            tts_mode: it.tts_mode,
            include_summaries: it.include_summaries,
            default_voice: or_setting(it.default_voice, "default_voice"),
            uses_tools: it.uses_tools,
            uses_search: it.uses_search,
            uses_home_assistant: it.uses_home_assistant,
            default_model: it.default_model,
            color: or_setting(it.color, "ui_color"),
            avatar: it.avatar,
            bot_type: it.bot_type.as_str(),
            agent_backend: it.agent_backend,
            agent_backend_config: audience.show(it.agent_backend_config.as_ref()).unwrap_or_default(),
            settings: self.settings.plain(),
        }
    }

    /// The bot as its editor shows it.
    #[must_use]
    pub fn profile_view(&self, audience: Audience) -> BotProfileView {
        let it = self.character().clone();
        BotProfileView {
            slug: self.slug().clone(),
            name: it.name,
            description: it.description,
            system_prompt: it.system_prompt,
            requires_memory: it.requires_memory,
            voice_optimized: it.voice_optimized,
            tts_mode: it.tts_mode,
            include_summaries: it.include_summaries,
            uses_tools: it.uses_tools,
            uses_search: it.uses_search,
            uses_home_assistant: it.uses_home_assistant,
            default_model: it.default_model,
            color: it.color,
            avatar: it.avatar,
            default_voice: it.default_voice,
            nextcloud_config: audience.show(it.nextcloud_config.as_ref()),
            bot_type: it.bot_type.as_str(),
            agent_backend: it.agent_backend,
            agent_backend_config: audience.show(it.agent_backend_config.as_ref()),
            tools_allow: it.tools_allow,
            tools_deny: it.tools_deny,
            model_fallbacks: it.model_fallbacks,
            history_scope: scope_word(it.history_scope),
            timezone: it.timezone,
            settings: self.settings.plain(),
            created_at: wire_time(self.profile.created_at),
            updated_at: wire_time(self.profile.updated_at),
        }
    }
}
