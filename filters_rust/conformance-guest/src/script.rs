//! The language of the configuration.
//!
//! ```text
//! @on_request_headers:one        what follows is for this callback, in streams whose x-case header is "one"
//! get_header_map_value 0 ":path"
//! define_metric 0 "hits" =m      the number that comes back is kept as m
//! increment_metric $m 1
//! end? return 0                  only with end_of_stream; more? only without; nth 2 only the second time
//! brief get_property "x"         shows how many bytes came back instead of these
//! return 1                       what the callback returns
//! ```
//!
//! A line is a command and its arguments: numbers, `"text"` with `\n`, `\0`, `\"`, `\\` and `\xNN`, `[name: value,
//! name: value]` for a header map, `$name` for a number that was kept, `=name` to keep the one that comes back.
//! `#` begins a comment.

/// One word of a line.
#[derive(Clone, Debug, PartialEq)]
pub enum Word {
    Name(String),
    Number(i64),
    Text(Vec<u8>),
    Kept(String),
    Keep(String),
}

/// The lines for one callback in one case; an empty case is that of contexts without one.
#[derive(Debug, Default)]
pub struct Section {
    pub callback: String,
    pub case: String,
    pub lines: Vec<Vec<Word>>,
}

/// Everything in the configuration.
#[derive(Debug, Default)]
pub struct Script {
    pub sections: Vec<Section>,
}

impl Script {
    pub fn parse(text: &str) -> Result<Script, String> {
        let mut script = Script::default();
        for line in text.lines().map(str::trim) {
            if let Some(head) = line.strip_prefix('@') {
                let (callback, case) = head.split_once(':').unwrap_or((head, ""));
                script.sections.push(Section {
                    callback: callback.to_string(),
                    case: case.to_string(),
                    lines: Vec::new(),
                });
                continue;
            }
            let words = words(line)?;
            if words.is_empty() {
                continue;
            }
            match script.sections.last_mut() {
                Some(section) => section.lines.push(words),
                None => return Err(format!("no callback for: {line}")),
            }
        }
        Ok(script)
    }

    pub fn find(&self, callback: &str, case: &str) -> Option<&Section> {
        self.sections
            .iter()
            .find(|each| each.callback == callback && each.case == case)
    }
}

fn words(line: &str) -> Result<Vec<Word>, String> {
    let bytes = line.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b' ' | b'\t' => at += 1,
            b'#' => break,
            b'"' => {
                let (text, next) = quoted(bytes, at + 1)?;
                found.push(Word::Text(text));
                at = next;
            }
            b'[' => {
                let end = line[at..].find(']').ok_or(format!("no ] in: {line}"))? + at;
                found.push(Word::Text(pairs(&line[at + 1..end])));
                at = end + 1;
            }
            _ => {
                let end = line[at..].find([' ', '\t']).map_or(bytes.len(), |n| n + at);
                found.push(word(&line[at..end])?);
                at = end;
            }
        }
    }
    Ok(found)
}

fn word(text: &str) -> Result<Word, String> {
    if let Some(name) = text.strip_prefix('$') {
        return Ok(Word::Kept(name.to_string()));
    }
    if let Some(name) = text.strip_prefix('=') {
        return Ok(Word::Keep(name.to_string()));
    }
    if let Some(digits) = text.strip_prefix("0x") {
        let number = i64::from_str_radix(digits, 16);
        return number
            .map(Word::Number)
            .map_err(|_| format!("no number: {text}"));
    }
    if text.starts_with(|first: char| first.is_ascii_digit() || first == '-') {
        return text
            .parse()
            .map(Word::Number)
            .map_err(|_| format!("no number: {text}"));
    }
    Ok(Word::Name(text.to_string()))
}

fn quoted(bytes: &[u8], from: usize) -> Result<(Vec<u8>, usize), String> {
    let mut text = Vec::new();
    let mut at = from;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return Ok((text, at + 1)),
            b'\\' => {
                at += 1;
                match bytes.get(at) {
                    Some(b'n') => text.push(b'\n'),
                    Some(b'0') => text.push(0),
                    Some(b'x') => {
                        let digits = bytes
                            .get(at + 1..at + 3)
                            .and_then(|each| std::str::from_utf8(each).ok());
                        let value = digits.and_then(|each| u8::from_str_radix(each, 16).ok());
                        text.push(value.ok_or("\\x needs two digits")?);
                        at += 2;
                    }
                    Some(other) => text.push(*other),
                    None => return Err("\\ at the end".to_string()),
                }
                at += 1;
            }
            other => {
                text.push(other);
                at += 1;
            }
        }
    }
    Err("no closing quote".to_string())
}

/// The wire form of `name: value, name: value`.
fn pairs(text: &str) -> Vec<u8> {
    let mut found: Vec<(&str, &str)> = Vec::new();
    for each in text.split(", ").filter(|each| !each.is_empty()) {
        // A pseudo header begins with the colon.
        let split = each[1..].find(':').map_or(each.len(), |n| n + 1);
        let value = each.get(split + 1..).unwrap_or("").trim();
        found.push((&each[..split], value));
    }
    let mut out = Vec::new();
    out.extend((found.len() as u32).to_le_bytes());
    for (name, value) in &found {
        out.extend((name.len() as u32).to_le_bytes());
        out.extend((value.len() as u32).to_le_bytes());
    }
    for (name, value) in &found {
        out.extend(name.as_bytes());
        out.push(0);
        out.extend(value.as_bytes());
        out.push(0);
    }
    out
}

/// Bytes as text without line breaks.
pub fn shown(bytes: &[u8]) -> String {
    let mut text = String::new();
    for &byte in bytes {
        match byte {
            b'\\' => text.push_str("\\\\"),
            b'"' => text.push_str("\\\""),
            0x20..=0x7e => text.push(byte as char),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text
}

/// A serialized header map as text, or as bytes where it is none.
pub fn shown_pairs(bytes: &[u8]) -> String {
    fn number(bytes: &[u8], at: usize) -> Option<usize> {
        Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize)
    }
    fn decode(bytes: &[u8]) -> Option<Vec<String>> {
        let count = number(bytes, 0)?;
        let mut at = 4 + 8 * count;
        let mut found = Vec::new();
        for index in 0..count {
            let name = number(bytes, 4 + 8 * index)?;
            let value = number(bytes, 8 + 8 * index)?;
            let (key, text) = (
                bytes.get(at..at + name)?,
                bytes.get(at + name + 1..at + name + 1 + value)?,
            );
            found.push(format!("{}: {}", shown(key), shown(text)));
            at += name + value + 2;
        }
        (at == bytes.len()).then_some(found)
    }
    if bytes.is_empty() {
        return "[]".to_string();
    }
    match decode(bytes) {
        Some(found) => format!("[{}]", found.join(", ")),
        None => format!("\"{}\"", shown(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_has_its_sections_in_order() {
        let script = Script::parse("@on_log\n\n@on_done:a # x\nreturn 0 # no\n").unwrap();
        assert_eq!(script.sections.len(), 2);
        let section = script.find("on_done", "a # x").unwrap();
        let expected = vec![vec![Word::Name("return".into()), Word::Number(0)]];
        assert_eq!(section.lines, expected);
    }

    #[test]
    fn every_kind_of_word_is_read() {
        let found = words(r#"do -1 0xff "a\x41\0\"" $k =m [:path: /, a: b]"#).unwrap();
        let map = pairs(":path: /, a: b");
        assert_eq!(
            found,
            vec![
                Word::Name("do".into()),
                Word::Number(-1),
                Word::Number(255),
                Word::Text(b"aA\0\"".to_vec()),
                Word::Kept("k".into()),
                Word::Keep("m".into()),
                Word::Text(map.clone()),
            ]
        );
        assert_eq!(shown_pairs(&map), "[:path: /, a: b]");
    }

    #[test]
    fn what_is_not_closed_is_an_error() {
        assert!(words("\"a").is_err());
        assert!(words("[a: b").is_err());
        assert!(Script::parse("log 1").is_err());
    }

    #[test]
    fn a_broken_map_is_shown_as_bytes() {
        assert_eq!(shown_pairs(&[1, 0, 0]), "\"\\x01\\x00\\x00\"");
        assert_eq!(shown_pairs(&[]), "[]");
    }
}
