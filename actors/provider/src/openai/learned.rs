//! What is learned about a model's parameters: which name its output limit goes by, and which wishes it refuses.
//!
//! Pure: a refused request and the provider's words give the next thing to try, or nothing. Something is only tried
//! when the provider says that a parameter is not supported; a wrong value is the caller's error.

use std::collections::HashSet;

use crate::definition::TokenParam;

/// A wish that can be left out without changing what is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Wish {
    Temperature,
    TopP,
    PresencePenalty,
    FrequencyPenalty,
    Seed,
    ReasoningEffort,
    Stop,
    ParallelToolCalls,
    StreamOptions,
    User,
}

impl Wish {
    /// In the order in which a refusal is searched for them.
    const ALL: [Self; 10] = [
        Self::StreamOptions,
        Self::Temperature,
        Self::TopP,
        Self::PresencePenalty,
        Self::FrequencyPenalty,
        Self::ReasoningEffort,
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
            Self::ReasoningEffort => &["reasoning_effort"],
            Self::Stop => &["stop"],
            Self::ParallelToolCalls => &["parallel_tool_calls"],
            Self::StreamOptions => &["stream_options", "include_usage"],
            Self::User => &["user"],
        }
    }
}

/// What is known about one model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Learned {
    pub(crate) token_param: Option<TokenParam>,
    pub(super) refused: HashSet<Wish>,
}

/// What a refused request held.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sent {
    pub(crate) token_param: Option<TokenParam>,
    pub(crate) wishes: Vec<Wish>,
}

const UNSUPPORTED: [&str; 11] = [
    "unsupported",
    "not supported",
    "does not support",
    "doesn't support",
    "unrecognized",
    "unknown",
    "unexpected",
    "not permitted",
    "extra_forbidden",
    "not allowed",
    "not available",
];

impl Learned {
    /// A model of which only the usual name of its output limit is known.
    pub(crate) fn named(token_param: TokenParam) -> Self {
        Self { token_param: Some(token_param), refused: HashSet::new() }
    }

    /// Whether a wish may be sent.
    pub(crate) fn allows(&self, wish: Wish) -> bool {
        !self.refused.contains(&wish)
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

/// Whether a parameter is named, as a word of its own.
fn mentions(words: &str, name: &str) -> bool {
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
