//! Rust text as words and signs. Comments are gone, and what stands in quotation marks is one token, so that a search
//! for a name finds only names. Not a parser: `syn` would be the one dependency that keeps `tidy` from building at
//! once.

use std::{iter::Peekable, str::Chars};

/// One token and the line it stands on, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CodeToken {
    /// What it is.
    pub kind: TokenKind,
    /// Its line.
    pub line: usize,
}

/// The kinds that matter to a reader of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// An identifier or a keyword; a raw identifier without its `r#`.
    Word(String),
    /// `::`.
    PathSeparator,
    /// A literal string, as written between its quotation marks.
    Text(String),
    /// Anything else that is not white space; every number is `'0'`, every character literal `'\''`.
    Sign(char),
}

impl CodeToken {
    /// Its word, if it is one.
    #[must_use]
    pub(super) fn word(&self) -> Option<&str> {
        match &self.kind {
            TokenKind::Word(word) => Some(word),
            TokenKind::PathSeparator | TokenKind::Text(_) | TokenKind::Sign(_) => None,
        }
    }

    /// It is this word.
    #[must_use]
    pub(super) fn is_word(&self, word: &str) -> bool {
        self.word() == Some(word)
    }

    /// It is this sign.
    #[must_use]
    pub(super) fn is(&self, sign: char) -> bool {
        self.kind == TokenKind::Sign(sign)
    }
}

/// The tokens of a file that compiles.
#[must_use]
pub(super) fn tokens(text: &str) -> Vec<CodeToken> {
    let mut lexer = Lexer {
        rest: text.chars().peekable(),
        line: 1,
    };
    let mut tokens = Vec::new();
    loop {
        let (line, before) = (lexer.line, lexer.rest.clone());
        let Some(letter) = lexer.next() else {
            return tokens;
        };
        let kind = match letter {
            '/' if lexer.rest.peek() == Some(&'/') => {
                lexer.skip_line();
                continue;
            }
            '/' if lexer.rest.peek() == Some(&'*') => {
                lexer.skip_block_comment();
                continue;
            }
            ':' if lexer.rest.next_if_eq(&':').is_some() => TokenKind::PathSeparator,
            '"' => TokenKind::Text(lexer.string()),
            '\'' => match lexer.character_or_lifetime() {
                Some(kind) => kind,
                None => continue,
            },
            _ if letter.is_whitespace() => continue,
            _ if letter.is_ascii_digit() => {
                lexer.word(letter);
                TokenKind::Sign('0')
            }
            _ if begins_word(letter) => match lexer.prefixed_string(letter) {
                Some(string) => TokenKind::Text(string),
                None => {
                    lexer.rest = before;
                    lexer.rest.next();
                    TokenKind::Word(lexer.word(letter))
                }
            },
            _ => TokenKind::Sign(letter),
        };
        tokens.push(CodeToken { kind, line });
    }
}

struct Lexer<'a> {
    rest: Peekable<Chars<'a>>,
    line: usize,
}

impl Lexer<'_> {
    fn next(&mut self) -> Option<char> {
        let letter = self.rest.next()?;
        self.line += usize::from(letter == '\n');
        Some(letter)
    }

    fn skip_line(&mut self) {
        while self.next().is_some_and(|letter| letter != '\n') {}
    }

    /// Behind the `/`; such comments nest.
    fn skip_block_comment(&mut self) {
        self.next();
        let mut depth = 1;
        while depth > 0 {
            match self.next() {
                Some('/') if self.rest.next_if_eq(&'*').is_some() => depth += 1,
                Some('*') if self.rest.next_if_eq(&'/').is_some() => depth -= 1,
                Some(_) => {}
                None => return,
            }
        }
    }

    /// Behind the first quotation mark of a string with escapes.
    fn string(&mut self) -> String {
        let mut string = String::new();
        loop {
            match self.next() {
                Some('\\') => {
                    self.next();
                }
                Some('"') | None => return string,
                Some(letter) => string.push(letter),
            }
        }
    }

    /// A string behind `b`, `c`, `r`, `br` or `cr`, of which `first` is the first letter; consumes nothing that counts if
    /// there is none, for the caller goes back.
    fn prefixed_string(&mut self, first: char) -> Option<String> {
        let raw = match first {
            'r' => true,
            'b' | 'c' => self.rest.next_if_eq(&'r').is_some(),
            _ => return None,
        };
        let mut hashes = 0;
        while raw && self.rest.next_if_eq(&'#').is_some() {
            hashes += 1;
        }
        self.rest.next_if_eq(&'"')?;
        Some(if raw { self.raw(hashes) } else { self.string() })
    }

    fn raw(&mut self, hashes: usize) -> String {
        let mut string = String::new();
        while let Some(letter) = self.next() {
            let mut seen = 0;
            if letter == '"' {
                while seen < hashes && self.rest.next_if_eq(&'#').is_some() {
                    seen += 1;
                }
                if seen == hashes {
                    break;
                }
            }
            string.push(letter);
            string.extend(std::iter::repeat_n('#', seen));
        }
        string
    }

    /// Behind a `'`. A lifetime is not a token: no rule needs it.
    fn character_or_lifetime(&mut self) -> Option<TokenKind> {
        let first = self.next()?;
        if begins_word(first) && self.rest.peek() != Some(&'\'') {
            self.word(first);
            return None;
        }
        if first == '\\' {
            self.next(); // what is escaped may be a `'`
        }
        while self.next().is_some_and(|letter| letter != '\'') {}
        Some(TokenKind::Sign('\''))
    }

    fn word(&mut self, first: char) -> String {
        let mut word = String::from(first);
        while let Some(letter) = self.rest.next_if(|letter| continues_word(*letter)) {
            word.push(letter);
        }
        if word == "r" && self.rest.next_if_eq(&'#').is_some() {
            word.clear();
            return self.rest.next().map_or(word, |first| self.word(first));
        }
        word
    }
}

fn begins_word(letter: char) -> bool {
    letter == '_' || letter.is_alphabetic()
}

fn continues_word(letter: char) -> bool {
    letter == '_' || letter.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let show = |token: &CodeToken| match &token.kind {
            TokenKind::Word(word) => word.clone(),
            TokenKind::PathSeparator => "::".to_owned(),
            TokenKind::Text(text) => format!("{text:?}"),
            TokenKind::Sign(sign) => sign.to_string(),
        };
        tokens(text).iter().map(show).collect()
    }

    #[test]
    fn comments_and_white_space_are_gone() {
        let text = "//! crate::a\nuse a::b; // crate::c\n/* d /* e */ f */ g";
        assert_eq!(shown(text), ["use", "a", "::", "b", ";", "g"]);
        let lines: Vec<usize> = tokens(text).iter().map(|token| token.line).collect();
        assert_eq!(lines, [2, 2, 2, 2, 2, 3]);
    }

    #[test]
    fn strings_are_one_token_however_they_are_quoted() {
        assert_eq!(shown(r#""a \" b" c"#), [r#""a  b""#, "c"]);
        assert_eq!(
            shown(r##"r"a" br#"b"c"# b"d" c"##),
            [r#""a""#, r#""b\"c""#, r#""d""#, "c"]
        );
        assert_eq!(shown(r##"r#"a\"# rest b"##), [r#""a\\""#, "rest", "b"]);
    }

    #[test]
    fn a_quotation_mark_may_be_a_character_or_a_lifetime() {
        assert_eq!(
            shown(r"f('a', '\'', '{', b'\\') g"),
            ["f", "(", "'", ",", "'", ",", "'", ",", "b", "'", ")", "g"]
        );
        assert_eq!(shown("&'a str 'outer: loop"), ["&", "str", ":", "loop"]);
    }

    #[test]
    fn numbers_and_raw_words() {
        assert_eq!(
            shown("0x1f.max(1_000u64) r#type"),
            ["0", ".", "max", "(", "0", ")", "type"]
        );
        assert_eq!(shown("0..=end"), ["0", ".", ".", "=", "end"]);
    }
}
