//! Which claims go into which headers, and what is asked of a request.
//!
//! ```json
//! {"header": "authorization", "prefix": "Bearer ", "separator": ",",
//!  "claims": {"sub": "x-jwt-sub", "realm_access.roles": "x-jwt-roles"},
//!  "require": {"iss": "https://issuer.example"}, "on_missing": "pass"}
//! ```

use filter_kit::headers::is_name;
use filter_kit::settings::parse;

use crate::token;

/// What the filter does.
#[derive(Debug)]
pub struct Settings {
    pub header: String,
    prefix: String,
    separator: String,
    /// Claim, header.
    claims: Vec<(String, String)>,
    /// Claim, and the text that it must have.
    require: Vec<(String, String)>,
    must_have_token: bool,
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Headers to set; all others of `targets` are removed.
    Pass(Vec<(String, String)>),
    /// 401: there is no token, or it is none.
    Unauthorized,
    /// 403: a claim is not as it is required.
    Forbidden,
}

impl Settings {
    /// Reads the configuration. The error is a sentence for the operator's log.
    pub fn from_json(configuration: &[u8]) -> Result<Settings, String> {
        let mut root = parse(configuration)?;
        let mut claims = root.texts("claims")?;
        for (claim, header) in &mut claims {
            if !is_name(header) {
                return Err(format!("claims.{claim}: {header:?} is not a header name"));
            }
            header.make_ascii_lowercase();
        }
        let settings = Settings {
            header: root
                .header_name("header")?
                .unwrap_or_else(|| "authorization".to_owned()),
            prefix: root
                .string("prefix")?
                .unwrap_or_else(|| "Bearer ".to_owned()),
            separator: root.string("separator")?.unwrap_or_else(|| ",".to_owned()),
            claims,
            require: root.texts("require")?,
            must_have_token: match root.string("on_missing")?.as_deref() {
                Some("pass") | None => false,
                Some("deny") => true,
                Some(_) => return Err("on_missing must be pass or deny".to_owned()),
            },
        };
        root.finish()?;
        Ok(settings)
    }

    /// The headers that only this filter may set.
    pub fn targets(&self) -> impl Iterator<Item = &str> {
        self.claims.iter().map(|(_, header)| header.as_str())
    }

    /// Judges a request by the value of its token header.
    pub fn judge(&self, value: Option<&[u8]>) -> Verdict {
        let token = value.and_then(|value| strip_prefix(value, self.prefix.as_bytes()));
        let Some(claims) = token.and_then(token::claims) else {
            let is_asked_for = self.must_have_token || !self.require.is_empty();
            return if is_asked_for {
                Verdict::Unauthorized
            } else {
                Verdict::Pass(Vec::new())
            };
        };
        let read = |claim: &str| token::text(token::find(&claims, claim)?, &self.separator);
        if self
            .require
            .iter()
            .any(|(claim, wanted)| read(claim).as_ref() != Some(wanted))
        {
            return Verdict::Forbidden;
        }
        let pair = |(claim, header): &(String, String)| Some((header.clone(), read(claim)?));
        Verdict::Pass(self.claims.iter().filter_map(pair).collect())
    }
}

/// Schemes are compared without case (RFC 9110 §11.1).
fn strip_prefix<'a>(value: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = (value.get(..prefix.len())?, &value[prefix.len()..]);
    start
        .eq_ignore_ascii_case(prefix)
        .then(|| rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    // {"iss":"me","sub":"al","roles":["a","b"]}
    const TOKEN: &str =
        "eyJhbGciOiJub25lIn0.eyJpc3MiOiJtZSIsInN1YiI6ImFsIiwicm9sZXMiOlsiYSIsImIiXX0.c2ln";

    fn verdict(configuration: &str, value: Option<&str>) -> Verdict {
        Settings::from_json(configuration.as_bytes())
            .unwrap()
            .judge(value.map(str::as_bytes))
    }

    fn bearer() -> String {
        format!("bearer {TOKEN}")
    }

    #[test]
    fn claims_go_into_their_headers() {
        let got = verdict(
            r#"{"claims": {"sub": "X-Sub", "roles": "x-roles", "none": "x-none"}}"#,
            Some(&bearer()),
        );
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            got,
            Verdict::Pass(vec![pair("x-roles", "a,b"), pair("x-sub", "al")])
        );
    }

    #[test]
    fn without_a_token_nothing_is_set_unless_one_is_asked_for() {
        for value in [None, Some("Basic YQ=="), Some("Bearer x"), Some("Bearer ")] {
            assert_eq!(verdict("{}", value), Verdict::Pass(Vec::new()));
            assert_eq!(
                verdict(r#"{"on_missing": "deny"}"#, value),
                Verdict::Unauthorized
            );
            assert_eq!(
                verdict(r#"{"require": {"iss": "me"}}"#, value),
                Verdict::Unauthorized
            );
        }
    }

    #[test]
    fn a_required_claim_must_have_its_value() {
        assert_eq!(
            verdict(r#"{"require": {"iss": "me"}}"#, Some(&bearer())),
            Verdict::Pass(Vec::new())
        );
        assert_eq!(
            verdict(r#"{"require": {"iss": "you"}}"#, Some(&bearer())),
            Verdict::Forbidden
        );
        assert_eq!(
            verdict(r#"{"require": {"x": ""}}"#, Some(&bearer())),
            Verdict::Forbidden
        );
    }

    #[test]
    fn a_token_may_stand_in_another_header() {
        let settings = Settings::from_json(br#"{"header": "X-Token", "prefix": ""}"#).unwrap();
        assert_eq!(settings.header, "x-token");
        assert!(matches!(
            settings.judge(Some(TOKEN.as_bytes())),
            Verdict::Pass(_)
        ));
    }

    #[test]
    fn problems_are_named() {
        let problem = |text: &str| Settings::from_json(text.as_bytes()).unwrap_err();
        assert_eq!(
            problem(r#"{"on_missing": "x"}"#),
            "on_missing must be pass or deny"
        );
        assert_eq!(
            problem(r#"{"claims": {"a": "b c"}}"#),
            "claims.a: \"b c\" is not a header name"
        );
        assert_eq!(problem(r#"{"claim": {}}"#), "unknown key claim");
    }
}
