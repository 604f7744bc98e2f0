//! Rules, and what they do to a map of headers.
//!
//! ```json
//! {"rules": [
//!   {"on": "request", "when": {"path_prefix": "/api", "header": {"name": "x-debug", "value": "1"}},
//!    "remove": ["x-internal"], "rename": {"x-old": "x-new"}, "copy": {"x-request-id": "x-trace"},
//!    "set": {"x-api": "yes"}, "add": {"via": "edge"}},
//!   {"on": "response", "when": {"statuses": [500, 503]}, "set": {"cache-control": "no-store"}}
//! ]}
//! ```
//!
//! Rules run in their order, each sees what those before it did; within a rule the order is remove, rename,
//! copy, set, add. A rule without `when` always holds.

use filter_kit::headers::is_under;
use filter_kit::settings::{parse, Object};

/// The headers that a rule works on.
pub trait Headers {
    fn get(&self, name: &str) -> Option<Vec<u8>>;
    fn set(&mut self, name: &str, value: &[u8]);
    fn add(&mut self, name: &str, value: &[u8]);
    fn remove(&mut self, name: &str);
}

/// Which messages a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Request,
    Response,
}

/// What has to hold; what is None does not matter.
#[derive(Debug, Default)]
struct When {
    path_prefix: Option<String>,
    methods: Option<Vec<String>>,
    statuses: Option<Vec<String>>,
    /// A name, and the value that it must have; None = any.
    header: Option<(String, Option<String>)>,
    absent: Option<String>,
}

#[derive(Debug)]
struct Rule {
    side: Side,
    when: When,
    remove: Vec<String>,
    rename: Vec<(String, String)>,
    copy: Vec<(String, String)>,
    set: Vec<(String, String)>,
    add: Vec<(String, String)>,
}

/// All rules of a plugin.
#[derive(Debug, Default)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// Reads the configuration. The error is a sentence for the operator's log.
    pub fn from_json(configuration: &[u8]) -> Result<Rules, String> {
        let mut root = parse(configuration)?;
        let rules = root.objects("rules")?.into_iter().map(Rule::read);
        let read = rules.collect::<Result<_, _>>()?;
        root.finish()?;
        Ok(Rules(read))
    }

    /// True where there is something to do on this side.
    pub fn have(&self, side: Side) -> bool {
        self.0.iter().any(|rule| rule.side == side)
    }

    /// Edits one message. `path` is the request's, which a response has no longer.
    pub fn apply(&self, side: Side, path: &[u8], headers: &mut impl Headers) {
        for rule in &self.0 {
            if rule.side == side && rule.when.holds(path, headers) {
                rule.edit(headers);
            }
        }
    }
}

impl Rule {
    fn read(mut object: Object) -> Result<Rule, String> {
        let side = match object.string("on")?.as_deref() {
            Some("request") | None => Side::Request,
            Some("response") => Side::Response,
            Some(_) => return Err(format!("{} must be request or response", object.at("on"))),
        };
        let when = match object.object("when")? {
            Some(when) => When::read(when, side)?,
            None => When::default(),
        };
        let rule = Rule {
            side,
            when,
            remove: object.header_names("remove")?.unwrap_or_default(),
            rename: names(&mut object, "rename")?,
            copy: names(&mut object, "copy")?,
            set: object.headers("set")?,
            add: object.headers("add")?,
        };
        object.finish()?;
        Ok(rule)
    }

    fn edit(&self, headers: &mut impl Headers) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (from, to) in &self.rename {
            if let Some(value) = headers.get(from) {
                headers.set(to, &value);
                headers.remove(from);
            }
        }
        for (from, to) in &self.copy {
            if let Some(value) = headers.get(from) {
                headers.set(to, &value);
            }
        }
        for (name, value) in &self.set {
            headers.set(name, value.as_bytes());
        }
        for (name, value) in &self.add {
            headers.add(name, value.as_bytes());
        }
    }
}

impl When {
    fn read(mut object: Object, side: Side) -> Result<When, String> {
        let header = match object.object("header")? {
            None => None,
            Some(mut header) => {
                let at = header.at("name");
                let name = header
                    .header_name("name")?
                    .ok_or_else(|| format!("{at} is missing"))?;
                let value = header.string("value")?;
                header.finish()?;
                Some((name, value))
            }
        };
        let when = When {
            path_prefix: object.string("path_prefix")?,
            methods: match side {
                Side::Request => object.strings("methods")?,
                Side::Response => None,
            },
            statuses: match side {
                Side::Request => None,
                Side::Response => statuses(&mut object)?,
            },
            header,
            absent: object.header_name("absent")?,
        };
        object.finish()?;
        Ok(when)
    }

    fn holds(&self, path: &[u8], headers: &impl Headers) -> bool {
        let is_one_of = |wanted: &Option<Vec<String>>, name: &str| match wanted {
            None => true,
            Some(wanted) => {
                let value = headers.get(name).unwrap_or_default();
                wanted.iter().any(|each| each.as_bytes() == value)
            }
        };
        let path_holds = match &self.path_prefix {
            None => true,
            Some(prefix) => is_under(path, prefix.as_bytes()),
        };
        let header_holds = match &self.header {
            None => true,
            Some((name, wanted)) => match (headers.get(name), wanted) {
                (None, _) => false,
                (Some(_), None) => true,
                (Some(value), Some(wanted)) => value == wanted.as_bytes(),
            },
        };
        path_holds
            && header_holds
            && self
                .absent
                .as_ref()
                .map_or(true, |name| headers.get(name).is_none())
            && is_one_of(&self.methods, ":method")
            && is_one_of(&self.statuses, ":status")
    }
}

fn names(object: &mut Object, key: &str) -> Result<Vec<(String, String)>, String> {
    let read = object.headers(key)?;
    let checked = |(from, to): (String, String)| match filter_kit::headers::is_name(&to) {
        true => Ok((from, to.to_ascii_lowercase())),
        false => Err(format!(
            "{}.{from}: {to:?} is not a header name",
            object.at(key)
        )),
    };
    read.into_iter().map(checked).collect()
}

fn statuses(object: &mut Object) -> Result<Option<Vec<String>>, String> {
    let path = object.at("statuses");
    let problem = || format!("{path} must be a list of numbers from 100 to 599");
    let Some(numbers) = object.numbers("statuses")? else {
        return Ok(None);
    };
    let text = |number: u64| match number {
        100..=599 => Ok(number.to_string()),
        _ => Err(problem()),
    };
    numbers
        .into_iter()
        .map(text)
        .collect::<Result<_, _>>()
        .map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Map(Vec<(String, Vec<u8>)>);

    impl Map {
        fn of(pairs: &[(&str, &str)]) -> Map {
            Map(pairs
                .iter()
                .map(|(n, v)| (n.to_string(), v.as_bytes().to_vec()))
                .collect())
        }

        fn shown(&self) -> String {
            let pair = |(n, v): &(String, Vec<u8>)| format!("{n}={}", String::from_utf8_lossy(v));
            self.0.iter().map(pair).collect::<Vec<_>>().join(" ")
        }
    }

    impl Headers for Map {
        fn get(&self, name: &str) -> Option<Vec<u8>> {
            self.0
                .iter()
                .find(|pair| pair.0 == name)
                .map(|pair| pair.1.clone())
        }
        fn set(&mut self, name: &str, value: &[u8]) {
            self.remove(name);
            self.add(name, value);
        }
        fn add(&mut self, name: &str, value: &[u8]) {
            self.0.push((name.to_owned(), value.to_vec()));
        }
        fn remove(&mut self, name: &str) {
            self.0.retain(|pair| pair.0 != name);
        }
    }

    fn edited(rules: &str, side: Side, path: &str, pairs: &[(&str, &str)]) -> String {
        let rules = Rules::from_json(format!(r#"{{"rules": [{rules}]}}"#).as_bytes()).unwrap();
        let mut map = Map::of(pairs);
        rules.apply(side, path.as_bytes(), &mut map);
        map.shown()
    }

    fn problem(rule: &str) -> String {
        Rules::from_json(format!(r#"{{"rules": [{rule}]}}"#).as_bytes()).unwrap_err()
    }

    #[test]
    fn a_rule_removes_renames_copies_sets_and_adds_in_this_order() {
        let rule = r#"{"add": {"a": "2"}, "set": {"a": "1"}, "copy": {"b": "c"}, "rename": {"x": "b"}, "remove": ["x2"]}"#;
        let pairs = [("x", "v"), ("x2", "w"), ("a", "0")];
        assert_eq!(edited(rule, Side::Request, "/", &pairs), "b=v c=v a=1 a=2");
    }

    #[test]
    fn what_is_not_there_is_neither_renamed_nor_copied() {
        let rule = r#"{"copy": {"b": "c"}, "rename": {"x": "b"}, "remove": ["y"]}"#;
        assert_eq!(edited(rule, Side::Request, "/", &[("a", "1")]), "a=1");
    }

    #[test]
    fn rules_see_what_those_before_them_did() {
        let rules = r#"{"set": {"a": "1"}}, {"when": {"header": {"name": "a", "value": "1"}}, "set": {"b": "2"}}"#;
        assert_eq!(edited(rules, Side::Request, "/", &[]), "a=1 b=2");
    }

    #[test]
    fn a_rule_is_for_one_side() {
        let rule = r#"{"on": "response", "set": {"a": "1"}}"#;
        assert_eq!(edited(rule, Side::Request, "/", &[]), "");
        assert_eq!(edited(rule, Side::Response, "/", &[]), "a=1");
        assert!(!Rules::from_json(b"").unwrap().have(Side::Request));
    }

    #[test]
    fn conditions_all_have_to_hold() {
        let rule = r#"{"when": {"path_prefix": "/api", "methods": ["PUT", "POST"], "header": {"name": "h"}, "absent": "n"},
                       "set": {"a": "1"}}"#;
        let good = [(":method", "PUT"), ("h", "")];
        assert!(edited(rule, Side::Request, "/api/x", &good).ends_with("a=1"));
        assert!(!edited(rule, Side::Request, "/apix", &good).ends_with("a=1"));
        assert!(!edited(
            rule,
            Side::Request,
            "/api",
            &[(":method", "GET"), ("h", "")]
        )
        .ends_with("a=1"));
        assert!(!edited(rule, Side::Request, "/api", &[(":method", "PUT")]).ends_with("a=1"));
        let with_n = [(":method", "PUT"), ("n", ""), ("h", "")];
        assert!(!edited(rule, Side::Request, "/api", &with_n).ends_with("a=1"));
    }

    #[test]
    fn a_response_has_a_status() {
        let rule = r#"{"on": "response", "when": {"statuses": [500, 503]}, "set": {"a": "1"}}"#;
        assert_eq!(
            edited(rule, Side::Response, "/", &[(":status", "503")]),
            ":status=503 a=1"
        );
        assert_eq!(
            edited(rule, Side::Response, "/", &[(":status", "200")]),
            ":status=200"
        );
    }

    #[test]
    fn problems_are_named() {
        assert_eq!(
            problem(r#"{"on": "both"}"#),
            "rules[0].on must be request or response"
        );
        assert_eq!(problem(r#"{"sets": {}}"#), "unknown key rules[0].sets");
        assert_eq!(
            problem(r#"{"when": {"statuses": [200]}}"#),
            "unknown key rules[0].when.statuses"
        );
        assert_eq!(
            problem(r#"{"when": {"header": {}}}"#),
            "rules[0].when.header.name is missing"
        );
        assert!(problem(r#"{"rename": {"a": "b c"}}"#).contains("rules[0].rename.a: \"b c\""));
        assert!(problem(r#"{"on": "response", "when": {"statuses": [99]}}"#)
            .contains("from 100 to 599"));
    }
}
