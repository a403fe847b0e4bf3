//! What a route is, and finding the one a request means. Pure.

use std::future::Future;
use std::pin::Pin;

use http::Method;
use percent_encoding::percent_decode_str;

use super::answer::Answer;
use super::call::Call;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Anybody.
    Public,
    /// Keys with role `chat`.
    Chat,
    /// Keys with role `read`.
    Read,
    /// Keys with role `admin`.
    Admin,
}

impl Scope {
    /// The role's name; public routes need none.
    #[must_use]
    pub fn role(self) -> Option<&'static str> {
        match self {
            Self::Public => None,
            Self::Chat => Some("chat"),
            Self::Read => Some("read"),
            Self::Admin => Some("admin"),
        }
    }
}

/// Which clients a route speaks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Face {
    /// The service's own.
    Plain,
    /// OpenAI's: error bodies carry an `error` member.
    OpenAi,
}

/// Which body a route takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// None; one that is sent is not read.
    Nothing,
    /// JSON of ordinary size.
    Json,
    /// JSON that may hold images, or many records.
    BigJson,
}

/// A handler's answer in the making.
pub type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// One route of the table.
pub struct Route {
    /// Its method.
    pub method: Method,
    /// Its path template.
    pub path: &'static str,
    /// Who may use it.
    pub scope: Scope,
    /// Which clients it speaks to.
    pub face: Face,
    /// Which body it takes.
    pub takes: Takes,
    /// Whether `HEAD` is served too.
    pub head: bool,
    /// The handler.
    pub run: fn(Call) -> Answering,
}

impl Route {
    const fn new(method: Method, path: &'static str, scope: Scope, takes: Takes, run: fn(Call) -> Answering) -> Self {
        Self { method, path, scope, face: Face::Plain, takes, head: false, run }
    }

    /// A `GET`.
    #[must_use]
    pub const fn get(path: &'static str, scope: Scope, run: fn(Call) -> Answering) -> Self {
        Self::new(Method::GET, path, scope, Takes::Nothing, run)
    }

    /// A `POST` with a JSON body.
    #[must_use]
    pub const fn post(path: &'static str, scope: Scope, run: fn(Call) -> Answering) -> Self {
        Self::new(Method::POST, path, scope, Takes::Json, run)
    }

    /// A `PUT` with a JSON body.
    #[must_use]
    pub const fn put(path: &'static str, scope: Scope, run: fn(Call) -> Answering) -> Self {
        Self::new(Method::PUT, path, scope, Takes::Json, run)
    }

    /// A `PATCH` with a JSON body.
    #[must_use]
    pub const fn patch(path: &'static str, scope: Scope, run: fn(Call) -> Answering) -> Self {
        Self::new(Method::PATCH, path, scope, Takes::Json, run)
    }

    /// A `DELETE`.
    #[must_use]
    pub const fn delete(path: &'static str, scope: Scope, run: fn(Call) -> Answering) -> Self {
        Self::new(Method::DELETE, path, scope, Takes::Nothing, run)
    }

    /// The same, on OpenAI's surface.
    #[must_use]
    pub const fn openai(mut self) -> Self {
        self.face = Face::OpenAi;
        self
    }

    /// The same, with room for images or many records.
    #[must_use]
    pub const fn big(mut self) -> Self {
        self.takes = Takes::BigJson;
        self
    }

    /// The same, without a body.
    #[must_use]
    pub const fn bodiless(mut self) -> Self {
        self.takes = Takes::Nothing;
        self
    }

    /// The same, answering `HEAD` too.
    #[must_use]
    pub const fn with_head(mut self) -> Self {
        self.head = true;
        self
    }

    fn serves(&self, method: &Method) -> bool {
        self.method == *method || (self.head && *method == Method::HEAD)
    }
}

/// Path parameters by name, decoded.
pub type Params = Vec<(&'static str, String)>;

/// What a path and method lead to.
pub enum Found {
    /// A route.
    Route(&'static Route, Params),
    /// A known path, but not with this method.
    WrongMethod {
        /// The methods it has.
        allow: String,
        /// Any of its routes, for its face.
        face: Face,
    },
    /// The same path with or without a trailing slash is known.
    Elsewhere(String),
    /// Nothing.
    Nowhere,
}

/// The table, searchable.
pub struct Router {
    paths: matchit::Router<Vec<&'static Route>>,
}

impl Router {
    /// Indexes the tables.
    ///
    /// # Errors
    /// In words, when two templates collide.
    pub fn new(tables: &[&'static [Route]]) -> Result<Self, String> {
        let mut by_path: Vec<(&'static str, Vec<&'static Route>)> = Vec::new();
        for route in tables.iter().copied().flatten() {
            match by_path.iter_mut().find(|(path, _)| *path == route.path) {
                Some((_, routes)) => routes.push(route),
                None => by_path.push((route.path, vec![route])),
            }
        }
        let mut paths = matchit::Router::new();
        for (path, routes) in by_path {
            paths.insert(path, routes).map_err(|error| format!("{path}: {error}"))?;
        }
        Ok(Self { paths })
    }

    /// The route for a request.
    #[must_use]
    pub fn find(&self, method: &Method, path: &str) -> Found {
        let Ok(matched) = self.paths.at(path) else {
            let other = path.strip_suffix('/').map_or_else(|| format!("{path}/"), str::to_owned);
            let known = !other.is_empty() && !other.starts_with("//") && self.paths.at(&other).is_ok();
            return if known { Found::Elsewhere(other) } else { Found::Nowhere };
        };
        let routes = matched.value;
        let Some(route) = routes.iter().copied().find(|route| route.serves(method)) else {
            return Found::WrongMethod { allow: allowed(routes), face: face(routes) };
        };
        let names = template_names(route.path);
        let params = names.zip(matched.params.iter()).map(|(name, (_, value))| (name, decode(value))).collect();
        Found::Route(route, params)
    }
}

fn face(routes: &[&'static Route]) -> Face {
    routes.first().map_or(Face::Plain, |route| route.face)
}

fn allowed(routes: &[&'static Route]) -> String {
    let mut methods: Vec<&str> = Vec::new();
    for route in routes {
        methods.push(route.method.as_str());
        if route.head {
            methods.push("HEAD");
        }
    }
    methods.join(", ")
}

fn template_names(template: &'static str) -> impl Iterator<Item = &'static str> {
    template.split('/').filter_map(|part| Some(part.strip_prefix('{')?.strip_suffix('}')?.trim_start_matches('*')))
}

/// Percent-decodes; what is no text, or holds a NUL, which no database column takes, becomes the replacement character.
pub(super) fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::answer;

    fn nothing(_: Call) -> Answering {
        Box::pin(async { answer::json(&()) })
    }

    static TABLE: &[Route] = &[
        Route::get("/a", Scope::Public, nothing).with_head(),
        Route::post("/a", Scope::Chat, nothing).openai(),
        Route::get("/a/{id}/b", Scope::Read, nothing),
        Route::get("/a/fixed/b", Scope::Read, nothing),
        Route::get("/docs/{*file}", Scope::Read, nothing),
    ];

    fn found(method: Method, path: &str) -> String {
        match Router::new(&[TABLE]).unwrap().find(&method, path) {
            Found::Route(route, params) => format!("{} {params:?}", route.path),
            Found::WrongMethod { allow, .. } => format!("not {allow}"),
            Found::Elsewhere(path) => format!("to {path}"),
            Found::Nowhere => "nowhere".into(),
        }
    }

    #[test]
    fn paths_lead_where_they_should() {
        assert_eq!(found(Method::HEAD, "/a"), "/a []");
        assert_eq!(found(Method::GET, "/a/fixed/b"), "/a/fixed/b []");
        assert_eq!(found(Method::GET, "/a/x%2Fy%00/b"), "/a/{id}/b [(\"id\", \"x/y\u{fffd}\")]");
        assert_eq!(found(Method::GET, "/docs/x/y.js"), "/docs/{*file} [(\"file\", \"x/y.js\")]");
        assert_eq!(found(Method::PUT, "/a"), "not GET, HEAD, POST");
        assert_eq!(found(Method::HEAD, "/a/1/b"), "not GET");
        assert_eq!(found(Method::POST, "/a/"), "to /a");
        for path in ["/", "", "*", "/b", "/a/1", "//a", "/a//", "/A"] {
            assert_eq!(found(Method::GET, path), "nowhere", "{path}");
        }
    }
}
