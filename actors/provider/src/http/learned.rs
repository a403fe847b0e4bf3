//! What is learned about a model's parameters: which name its output limit goes by, and which wishes it refuses.
//!
//! Pure: a refused request and the provider's words give the next thing to try, or nothing. Something is only tried
//! when the provider says that a parameter is not supported; a wrong value is the caller's error.

use std::collections::HashSet;

use crate::definition::{ModelDefinition, TokenParam};

/// A wish that can be left out without changing what is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Wish {
    Temperature,
    TopP,
    PresencePenalty,
    FrequencyPenalty,
    Seed,
    ReasoningEffort,
    ResponseFormat,
    Stop,
    ParallelToolCalls,
    StreamOptions,
    /// System texts in the Responses API's own member, instead of a message.
    Instructions,
    User,
}

impl Wish {
    /// In the order in which a refusal is searched for them.
    const ALL: [Self; 12] = [
        Self::StreamOptions,
        Self::Instructions,
        Self::Temperature,
        Self::TopP,
        Self::PresencePenalty,
        Self::FrequencyPenalty,
        Self::ReasoningEffort,
        Self::ResponseFormat,
        Self::ParallelToolCalls,
        Self::Seed,
        Self::Stop,
        Self::User,
    ];

    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Temperature => &["temperature"],
            Self::TopP => &["top_p"],
            Self::PresencePenalty => &["presence_penalty"],
            Self::FrequencyPenalty => &["frequency_penalty"],
            Self::Seed => &["seed"],
            Self::ReasoningEffort => &["reasoning_effort", "reasoning", "effort", "think", "thinking"],
            Self::ResponseFormat => {
                &["response_format", "json_schema", "output_config", "output_format", "text.format"]
            }
            Self::Stop => &["stop"],
            Self::ParallelToolCalls => &["parallel_tool_calls", "parallel tool calls"],
            Self::StreamOptions => &["stream_options", "include_usage"],
            Self::Instructions => &["instructions"],
            Self::User => &["user"],
        }
    }
}

/// What is known about one model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Learned {
    pub(crate) token_param: Option<TokenParam>,
    refused: HashSet<Wish>,
}

/// What a refused request held.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sent {
    pub(crate) token_param: Option<TokenParam>,
    pub(crate) wishes: Vec<Wish>,
    /// Whether tools were offered.
    pub(crate) tools: bool,
}

/// How providers say that they do not know something.
pub(super) const UNSUPPORTED: [&str; 13] = [
    "unsupported",
    "not supported",
    "does not support",
    "doesn't support",
    "unrecognized",
    "unknown",
    "unexpected",
    "not permitted",
    "extra_forbidden",
    "literal_error",
    "not allowed",
    "not available",
    "deprecated",
];

impl Learned {
    /// What a definition and the model's name say; `official` is whether OpenAI itself serves it.
    pub(crate) fn before_any_call(definition: &ModelDefinition, official: bool) -> Self {
        let model = definition.model_id.as_deref().unwrap_or_default();
        let options = &definition.options;
        let token_param = options.token_param.unwrap_or_else(|| usual_token_param(model, official));
        let mut known = Self { token_param: Some(token_param), refused: HashSet::new() };
        let sampled = !samples_by_itself(model);
        let supported = [(Wish::Temperature, options.supports_temperature), (Wish::TopP, options.supports_top_p)];
        for (wish, supported) in supported {
            if !supported.unwrap_or(sampled) {
                known.refuse(wish);
            }
        }
        known
    }

    /// Whether a wish may be sent.
    pub(crate) fn allows(&self, wish: Wish) -> bool {
        !self.refused.contains(&wish)
    }

    /// A wish that is allowed, noted as sent.
    pub(crate) fn wish<T>(&self, sent: &mut Vec<Wish>, wish: Wish, value: Option<T>) -> Option<T> {
        let value = value.filter(|_| self.allows(wish))?;
        sent.push(wish);
        Some(value)
    }

    /// Notes that a wish must not be sent.
    pub(crate) fn refuse(&mut self, wish: Wish) {
        self.refused.insert(wish);
    }

    /// Takes over what another call learned.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.token_param = other.token_param.or(self.token_param);
        self.refused.extend(&other.refused);
    }

    /// What to try after a refusal in these (lower-case) words; `tried` gathers the token parameters of this call.
    pub(crate) fn adapt(&self, words: &str, sent: &Sent, tried: &mut Vec<TokenParam>) -> Option<Self> {
        if !UNSUPPORTED.iter().any(|word| words.contains(word)) {
            return None;
        }
        let mut next = self.clone();
        if let Some(param) = sent.token_param
            && mentions(words, param.as_str())
        {
            tried.push(param);
            let open: Vec<TokenParam> = TokenParam::ALL.into_iter().filter(|p| !tried.contains(p)).collect();
            let advised = open.iter().find(|p| mentions(words, p.as_str()));
            next.token_param = Some(*advised.or(open.first())?);
            return Some(next);
        }
        let named = |wish: &Wish| sent.wishes.contains(wish) && wish.names().iter().any(|name| mentions(words, name));
        let wish = Wish::ALL.into_iter().find(named)?;
        next.refuse(wish);
        Some(next)
    }
}

/// Models that choose their sampling themselves, going by their names (providers.md §5.1).
fn samples_by_itself(model: &str) -> bool {
    ["o1", "o3", "o4"].iter().any(|start| model.starts_with(start))
        || ["-chat-latest", "-search-preview", "-audio-preview"].iter().any(|part| model.contains(part))
}

/// OpenAI's newer models want the newer name; compatible servers start with the older one.
fn usual_token_param(model: &str, official: bool) -> TokenParam {
    const OLD: [&str; 6] = ["gpt-3.5-turbo", "gpt-4", "gpt-4-turbo", "gpt-4-0314", "gpt-4-0613", "gpt-4-32k"];
    const OLD_STARTS: [&str; 3] = ["gpt-3.5-", "gpt-4-turbo-", "gpt-4-32k-"];
    let old = OLD.contains(&model) || OLD_STARTS.iter().any(|start| model.starts_with(start));
    if official && !old { TokenParam::MaxCompletionTokens } else { TokenParam::MaxTokens }
}

/// Whether a parameter is named, as a word of its own.
pub(super) fn mentions(words: &str, name: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    words.match_indices(name).any(|(at, _)| !words[..at].ends_with(part) && !words[at + name.len()..].starts_with(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent() -> Sent {
        Sent {
            token_param: Some(TokenParam::MaxTokens),
            wishes: vec![Wish::StreamOptions, Wish::Temperature, Wish::TopP, Wish::Stop, Wish::User],
            tools: false,
        }
    }

    fn adapt(words: &str) -> Option<Learned> {
        Learned::default().adapt(&words.to_lowercase(), &sent(), &mut Vec::new())
    }

    #[test]
    fn the_advised_name_is_taken_else_the_next() {
        let advised = "Unsupported parameter: 'max_tokens' is not supported with this model. Use \
                       'max_completion_tokens' instead.";
        assert_eq!(adapt(advised).unwrap().token_param, Some(TokenParam::MaxCompletionTokens));
        assert_eq!(
            adapt("max_tokens: Extra inputs are not permitted").unwrap().token_param,
            Some(TokenParam::MaxCompletionTokens)
        );
        let mut tried = Vec::new();
        let mut learned = Learned::default();
        let mut sent = sent();
        for expected in [Some(TokenParam::MaxCompletionTokens), Some(TokenParam::MaxOutputTokens), None] {
            let words = format!("unknown field {}", sent.token_param.unwrap().as_str());
            let next = learned.adapt(&words, &sent, &mut tried);
            assert_eq!(next.as_ref().and_then(|next| next.token_param), expected);
            let Some(next) = next else { break };
            sent.token_param = next.token_param;
            learned = next;
        }
    }

    #[test]
    fn one_wish_is_dropped_at_a_time() {
        let learned =
            adapt("temperature Unsupported value: 'temperature' does not support 0.2 with this model.").unwrap();
        assert!(!learned.allows(Wish::Temperature) && learned.allows(Wish::TopP));
        assert!(
            !adapt("[{'type': 'extra_forbidden', 'loc': ('body', 'stream_options')}]")
                .unwrap()
                .allows(Wish::StreamOptions)
        );
        assert!(!adapt("unknown parameter: include_usage").unwrap().allows(Wish::StreamOptions));
    }

    #[test]
    fn wrong_values_and_strangers_are_not_adapted_to() {
        assert_eq!(adapt("max_tokens is too large: 5000000"), None);
        assert_eq!(adapt("temperature must be at most 1"), None);
        assert_eq!(adapt("unsupported parameter: tools"), None);
        assert_eq!(adapt("messages with role 'users' are not supported"), None);
    }
}
