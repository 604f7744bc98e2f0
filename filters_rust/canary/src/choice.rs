//! Who is a canary.
//!
//! ```json
//! {"percent": 5, "salt": "checkout-v2", "key": {"header": "x-user"}, "cookie": "canary",
//!  "header": "x-canary", "canary": "canary", "stable": "stable", "force_header": "x-force-canary"}
//! ```
//!
//! A client is known by a header, by its address, or, where `cookie` names one, by the choice that an earlier
//! response left in that cookie. The key is hashed with the salt into one of 10,000 slots, and those below the
//! percentage are canaries: whoever was one at 5 % still is at 50 %.

use filter_kit::headers::{cookie, is_name, is_value};
use filter_kit::settings::parse;

const SLOTS: u32 = 10_000;

/// What a client is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    Header(String),
    Address,
}

/// What the filter does.
#[derive(Debug)]
pub struct Settings {
    /// In hundredths of a percent, so many slots of 10,000.
    percent: u32,
    salt: String,
    pub key: Key,
    pub cookie: Option<String>,
    cookie_max_age_s: u64,
    pub header: String,
    canary: String,
    stable: String,
    pub force_header: Option<String>,
}

/// Where a request goes, and whether the client has to be told so that it stays there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    pub is_canary: bool,
    pub is_new: bool,
}

impl Settings {
    /// Reads the configuration. The error is a sentence for the operator's log.
    pub fn from_json(configuration: &[u8]) -> Result<Settings, String> {
        let mut root = parse(configuration)?;
        let key = match root.object("key")? {
            None => Key::Address,
            Some(mut key) => {
                let header = key.header_name("header")?;
                key.finish()?;
                header.map_or(Key::Address, Key::Header)
            }
        };
        let settings = Settings {
            percent: root.percent("percent")?.ok_or("percent is missing")?,
            salt: root.string("salt")?.unwrap_or_default(),
            key,
            cookie: root.string("cookie")?,
            cookie_max_age_s: root
                .number("cookie_max_age_s", 1, 365 * 86400)?
                .unwrap_or(86400),
            header: root
                .header_name("header")?
                .unwrap_or_else(|| "x-canary".to_owned()),
            canary: root
                .string("canary")?
                .unwrap_or_else(|| "canary".to_owned()),
            stable: root
                .string("stable")?
                .unwrap_or_else(|| "stable".to_owned()),
            force_header: root.header_name("force_header")?,
        };
        root.finish()?;
        if let Some(name) = settings.cookie.as_ref().filter(|name| !is_name(name)) {
            return Err(format!("cookie: {name:?} is not a cookie's name"));
        }
        for (key, name) in [("canary", &settings.canary), ("stable", &settings.stable)] {
            if name.is_empty() || !is_value(name) || name.contains([';', ',', ' ', '"', '\\', '\t'])
            {
                return Err(format!("{key}: {name:?} cannot be written into a cookie"));
            }
        }
        if settings.canary == settings.stable {
            return Err("canary and stable must differ".to_owned());
        }
        Ok(settings)
    }

    /// Chooses. `force` is the value of the force header, `cookies` that of `cookie`, `key` what the client is
    /// known by.
    pub fn choose(&self, force: Option<&[u8]>, cookies: Option<&[u8]>, key: &[u8]) -> Choice {
        if let Some(is_canary) = force.and_then(|name| self.side(name)) {
            return Choice {
                is_canary,
                is_new: false,
            };
        }
        let kept = self.cookie.as_ref().and_then(|name| cookie(cookies?, name));
        if let Some(is_canary) = kept.and_then(|name| self.side(name)) {
            return Choice {
                is_canary,
                is_new: false,
            };
        }
        let is_canary = slot(self.salt.as_bytes(), key) < self.percent;
        Choice {
            is_canary,
            is_new: self.cookie.is_some(),
        }
    }

    fn side(&self, name: &[u8]) -> Option<bool> {
        match name {
            name if name == self.canary.as_bytes() => Some(true),
            name if name == self.stable.as_bytes() => Some(false),
            _ => None,
        }
    }

    /// What the routing header says.
    pub fn name(&self, is_canary: bool) -> &str {
        if is_canary {
            &self.canary
        } else {
            &self.stable
        }
    }

    /// The cookie that keeps a client where it is.
    pub fn set_cookie(&self, is_canary: bool) -> Option<String> {
        let (name, age) = (self.cookie.as_ref()?, self.cookie_max_age_s);
        Some(format!(
            "{name}={}; Path=/; Max-Age={age}; HttpOnly",
            self.name(is_canary)
        ))
    }
}

/// Which of the slots a key falls into: FNV-1a over salt, NUL and key, mixed so that all bits count.
fn slot(salt: &[u8], key: &[u8]) -> u32 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for byte in salt.iter().chain(&[0]).chain(key) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    (hash % u64::from(SLOTS)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        Settings::from_json(text.as_bytes()).unwrap()
    }

    fn canaries(settings: &Settings) -> Vec<usize> {
        let is_one = |n: &usize| {
            settings
                .choose(None, None, format!("user-{n}").as_bytes())
                .is_canary
        };
        (0..10_000).filter(is_one).collect()
    }

    #[test]
    fn the_part_is_the_percentage() {
        for (percent, least, most) in [
            (0, 0, 0),
            (5, 440, 560),
            (50, 4800, 5200),
            (100, 10_000, 10_000),
        ] {
            let count = canaries(&settings(&format!(r#"{{"percent": {percent}}}"#))).len();
            assert!((least..=most).contains(&count), "{percent} %: {count}");
        }
    }

    #[test]
    fn whoever_is_a_canary_stays_one_when_the_part_grows() {
        let few = canaries(&settings(r#"{"percent": 5, "salt": "s"}"#));
        let many = canaries(&settings(r#"{"percent": 20.5, "salt": "s"}"#));
        assert!(few.iter().all(|n| many.contains(n)));
        assert_ne!(few, canaries(&settings(r#"{"percent": 5, "salt": "t"}"#)));
    }

    #[test]
    fn a_cookie_keeps_the_choice() {
        let all = settings(r#"{"percent": 100, "cookie": "c"}"#);
        let choice = |is_canary, is_new| Choice { is_canary, is_new };
        assert_eq!(all.choose(None, None, b""), choice(true, true));
        assert_eq!(
            all.choose(None, Some(b"a=1; c=stable"), b""),
            choice(false, false)
        );
        assert_eq!(all.choose(None, Some(b"c=else"), b""), choice(true, true));
        assert_eq!(
            all.set_cookie(true).unwrap(),
            "c=canary; Path=/; Max-Age=86400; HttpOnly"
        );
        assert_eq!(settings(r#"{"percent": 1}"#).set_cookie(true), None);
    }

    #[test]
    fn a_header_forces_the_choice() {
        let none = settings(r#"{"percent": 0, "cookie": "c", "canary": "b", "stable": "a"}"#);
        assert!(none.choose(Some(b"b"), Some(b"c=a"), b"").is_canary);
        assert!(!none.choose(Some(b"x"), None, b"").is_canary);
        assert_eq!((none.name(true), none.name(false)), ("b", "a"));
    }

    #[test]
    fn problems_are_named() {
        let problem = |text: &str| Settings::from_json(text.as_bytes()).unwrap_err();
        assert_eq!(problem(""), "percent is missing");
        assert_eq!(
            problem(r#"{"percent": 101}"#),
            "percent must be a number from 0 to 100"
        );
        assert_eq!(
            problem(r#"{"percent": 1, "key": {"cookie": "a"}}"#),
            "unknown key key.cookie"
        );
        assert_eq!(
            problem(r#"{"percent": 1, "cookie": "a b"}"#),
            "cookie: \"a b\" is not a cookie's name"
        );
        assert_eq!(
            problem(r#"{"percent": 1, "canary": "a;b"}"#),
            "canary: \"a;b\" cannot be written into a cookie"
        );
        assert_eq!(
            problem(r#"{"percent": 1, "canary": "stable"}"#),
            "canary and stable must differ"
        );
    }
}
