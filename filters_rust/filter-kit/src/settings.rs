//! Reading a configuration in JSON.
//!
//! Every problem is a sentence for the operator's log that names the key by its path (`rules[2].set.x-a`). A key
//! that nobody asked for is a problem too: a misspelt one must not pass.

use serde_json::{Map, Value};

use crate::headers::{is_name, is_value};

/// What is wrong with a configuration.
pub type Problem = String;

/// One JSON object, read key by key; `finish` refuses what was not asked for.
pub struct Object {
    path: String,
    left: Map<String, Value>,
}

/// Reads a whole configuration; empty bytes (no configuration given) are an empty object.
pub fn parse(configuration: &[u8]) -> Result<Object, Problem> {
    if configuration.iter().all(u8::is_ascii_whitespace) {
        return Ok(Object {
            path: String::new(),
            left: Map::new(),
        });
    }
    let value = serde_json::from_slice(configuration)
        .map_err(|error| format!("the configuration is not JSON: {error}"))?;
    Object::of(value, "")
}

impl Object {
    fn of(value: Value, path: &str) -> Result<Object, Problem> {
        match value {
            Value::Object(left) => Ok(Object {
                path: path.to_owned(),
                left,
            }),
            _ if path.is_empty() => Err("the configuration must be a JSON object".to_owned()),
            _ => Err(format!("{path} must be a JSON object")),
        }
    }

    /// The path of a key of this object, for problems.
    pub fn at(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    fn read<T>(
        &mut self,
        key: &str,
        what: &str,
        reader: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        match self.left.remove(key) {
            None => Ok(None),
            Some(value) => match reader(&value) {
                Some(read) => Ok(Some(read)),
                None => Err(format!("{} must be {what}", self.at(key))),
            },
        }
    }

    pub fn string(&mut self, key: &str) -> Result<Option<String>, Problem> {
        self.read(key, "a string", |value| value.as_str().map(str::to_owned))
    }

    pub fn boolean(&mut self, key: &str) -> Result<Option<bool>, Problem> {
        self.read(key, "true or false", Value::as_bool)
    }

    /// A whole number from `least` to `most`.
    pub fn number(&mut self, key: &str, least: u64, most: u64) -> Result<Option<u64>, Problem> {
        let what = format!("a whole number from {least} to {most}");
        self.read(key, &what, |value| {
            value
                .as_u64()
                .filter(|number| (least..=most).contains(number))
        })
    }

    pub fn numbers(&mut self, key: &str) -> Result<Option<Vec<u64>>, Problem> {
        self.read(key, "a list of whole numbers", |value| {
            value.as_array()?.iter().map(Value::as_u64).collect()
        })
    }

    /// A number from 0 to 100, of which two digits behind the point count: in hundredths.
    pub fn percent(&mut self, key: &str) -> Result<Option<u32>, Problem> {
        self.read(key, "a number from 0 to 100", |value| {
            value
                .as_f64()
                .filter(|number| (0.0..=100.0).contains(number))
                .map(|number| (number * 100.0 + 0.5) as u32)
        })
    }

    pub fn strings(&mut self, key: &str) -> Result<Option<Vec<String>>, Problem> {
        self.read(key, "a list of strings", |value| {
            let items = value.as_array()?.iter();
            items.map(|item| item.as_str().map(str::to_owned)).collect()
        })
    }

    /// The name of a header, in lower case as HTTP/2 wants it.
    pub fn header_name(&mut self, key: &str) -> Result<Option<String>, Problem> {
        let path = self.at(key);
        self.string(key)?
            .map(|text| header_name(&text, &path))
            .transpose()
    }

    /// Names of headers, in lower case.
    pub fn header_names(&mut self, key: &str) -> Result<Option<Vec<String>>, Problem> {
        let path = self.at(key);
        let Some(names) = self.strings(key)? else {
            return Ok(None);
        };
        names
            .iter()
            .map(|name| header_name(name, &path))
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// Headers as a list of pairs; the file's order is lost in a JSON object, so they come sorted by name.
    pub fn headers(&mut self, key: &str) -> Result<Vec<(String, String)>, Problem> {
        let Some(object) = self.object(key)? else {
            return Ok(Vec::new());
        };
        let mut pairs = Vec::new();
        for (name, value) in &object.left {
            let path = object.at(name);
            let text = value
                .as_str()
                .ok_or_else(|| format!("{path} must be a string"))?;
            if !is_value(text) {
                return Err(format!("{path}: {text:?} is not a header value"));
            }
            pairs.push((header_name(name, &path)?, text.to_owned()));
        }
        Ok(pairs)
    }

    /// The keys and values of an object of strings, sorted by key.
    pub fn texts(&mut self, key: &str) -> Result<Vec<(String, String)>, Problem> {
        let Some(object) = self.object(key)? else {
            return Ok(Vec::new());
        };
        let pair = |(name, value): (&String, &Value)| match value.as_str() {
            Some(text) => Ok((name.clone(), text.to_owned())),
            None => Err(format!("{} must be a string", object.at(name))),
        };
        object.left.iter().map(pair).collect()
    }

    pub fn object(&mut self, key: &str) -> Result<Option<Object>, Problem> {
        let path = self.at(key);
        self.left
            .remove(key)
            .map(|value| Object::of(value, &path))
            .transpose()
    }

    pub fn objects(&mut self, key: &str) -> Result<Vec<Object>, Problem> {
        let path = self.at(key);
        match self.left.remove(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => items
                .into_iter()
                .enumerate()
                .map(|(index, item)| Object::of(item, &format!("{path}[{index}]")))
                .collect(),
            Some(_) => Err(format!("{path} must be a list")),
        }
    }

    /// Refuses the keys that were not read.
    pub fn finish(self) -> Result<(), Problem> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(key) => Err(format!("unknown key {}", self.at(key))),
        }
    }
}

fn header_name(text: &str, path: &str) -> Result<String, Problem> {
    if is_name(text) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(format!("{path}: {text:?} is not a header name"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Object {
        parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn no_configuration_is_an_empty_object() {
        for text in ["", " \n", "{}"] {
            assert_eq!(object(text).finish(), Ok(()));
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        assert!(parse(b"{").err().unwrap().contains("not JSON"));
        assert!(parse(b"\xff").err().unwrap().contains("not JSON"));
        assert_eq!(
            parse(b"[]").err().unwrap(),
            "the configuration must be a JSON object"
        );
        assert_eq!(
            object(r#"{"a": 1}"#).object("a").err().unwrap(),
            "a must be a JSON object"
        );
    }

    #[test]
    fn a_problem_names_the_whole_path() {
        let mut rules = object(r#"{"rules": [{}, {"set": {"x-a": 1}}]}"#)
            .objects("rules")
            .unwrap();
        assert_eq!(
            rules[1].headers("set").unwrap_err(),
            "rules[1].set.x-a must be a string"
        );
    }

    #[test]
    fn a_key_that_nobody_read_is_refused() {
        let mut read = object(r#"{"a": "x", "b": 1}"#);
        assert_eq!(read.string("a"), Ok(Some("x".to_owned())));
        assert_eq!(read.finish(), Err("unknown key b".to_owned()));
    }

    #[test]
    fn numbers_have_their_bounds() {
        let mut read = object(r#"{"a": 0, "b": 5, "c": 1.5, "d": -1}"#);
        assert_eq!(read.number("b", 1, 5), Ok(Some(5)));
        for key in ["a", "c", "d"] {
            assert_eq!(
                read.number(key, 1, 5),
                Err(format!("{key} must be a whole number from 1 to 5"))
            );
        }
        assert_eq!(read.number("e", 1, 5), Ok(None));
    }

    #[test]
    fn percents_are_in_hundredths() {
        let mut read = object(r#"{"a": 12.345, "b": 100, "c": 100.1, "d": "5"}"#);
        assert_eq!(read.percent("a"), Ok(Some(1235)));
        assert_eq!(read.percent("b"), Ok(Some(10000)));
        assert!(read.percent("c").is_err() && read.percent("d").is_err());
    }

    #[test]
    fn headers_are_checked_and_in_lower_case() {
        let mut read =
            object(r#"{"a": {"X-B": "1"}, "b": {"x y": "1"}, "c": {"x": "\r\n"}, "d": ["X"]}"#);
        assert_eq!(
            read.headers("a"),
            Ok(vec![("x-b".to_owned(), "1".to_owned())])
        );
        assert_eq!(
            read.headers("b").unwrap_err(),
            "b.x y: \"x y\" is not a header name"
        );
        assert!(read
            .headers("c")
            .unwrap_err()
            .contains("is not a header value"));
        assert_eq!(read.header_names("d"), Ok(Some(vec!["x".to_owned()])));
    }
}
