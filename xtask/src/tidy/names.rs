//! The names in the text of one file: the items it defines, its `use` trees, and every path in its code. Anything under
//! `#[cfg(test)]` is ignored.

use std::collections::{BTreeMap, BTreeSet};

use super::tokens::{CodeToken, TokenKind};

/// The names of one module.
#[derive(Debug, Default)]
pub(super) struct ModuleNames {
    /// Its items besides modules.
    pub items: BTreeSet<String>,
    /// Macros it defines with `macro_rules!`, which others may use without a path.
    pub macros: BTreeSet<String>,
    /// Names that `use` brings in, with the paths they stand for.
    pub imports: BTreeMap<String, Vec<Vec<String>>>,
    /// Paths imported with `::*`.
    pub globs: Vec<Vec<String>>,
    /// Every path it names, except in re-exports.
    pub uses: Vec<Use>,
    /// Every method it defines, with the type if that is not the trait's business.
    pub methods: Vec<(String, Option<Vec<String>>)>,
    /// Every method it calls, with the line.
    pub calls: Vec<(String, usize)>,
    /// The modules it declares; those in files of their own without their names.
    pub modules: Vec<(String, Option<Self>)>,
}

/// A path that code names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Use {
    /// Its names, the first as written: `crate`, `super`, a name in scope.
    pub path: Vec<String>,
    /// Its line in the file.
    pub line: usize,
    /// A `!` follows.
    pub calls_macro: bool,
}

/// Words that an item's name follows.
const ITEMS: &[&str] = &[
    "const", "enum", "fn", "static", "struct", "trait", "type", "union",
];

/// Reads the tokens of a file.
#[must_use]
pub(super) fn read(tokens: &[CodeToken]) -> ModuleNames {
    let mut reader = Reader {
        tokens,
        at: 0,
        depth: 0,
        variants: usize::MAX,
        implements: None,
        here: ModuleNames::default(),
        around: Vec::new(),
    };
    while reader.at < tokens.len() {
        reader.step();
    }
    reader.here
}

struct Reader<'a> {
    tokens: &'a [CodeToken],
    at: usize,
    /// Brackets of every kind that are open.
    depth: usize,
    /// How many are open where the variants of the last enum stand.
    variants: usize,
    /// The type whose own methods stand here, and the brackets that are open where they do.
    implements: Option<(Vec<String>, usize)>,
    /// The innermost module that is open.
    here: ModuleNames,
    /// The modules around it, and of each open inline one its name and the brackets that are open in it.
    around: Vec<(ModuleNames, String, usize)>,
}

impl Reader<'_> {
    fn step(&mut self) {
        let Some(token) = self.peek(0) else {
            return;
        };
        match &token.kind {
            TokenKind::Sign('#') if self.is_test_attribute() => self.skip_item(),
            TokenKind::Sign('(' | '[' | '{') => self.open(),
            TokenKind::Sign(')' | ']' | '}') => self.close(),
            TokenKind::Text(text) if self.before().is_some_and(|before| before.is('=')) => {
                self.quoted_path(&text.clone(), token.line);
            }
            TokenKind::Word(word) => match word.as_str() {
                "use" if !self.peek(1).is_some_and(|next| next.is('<')) => self.use_item(),
                "mod" => self.module(),
                "macro_rules" => self.macro_rules(),
                "impl" if self.depth == self.module_depth() => {
                    self.implements = self.implemented_type().map(|path| (path, self.depth + 1));
                    self.at += 1;
                }
                word if ITEMS.contains(&word) => self.item(),
                _ => self.path(),
            },
            TokenKind::PathSeparator | TokenKind::Text(_) | TokenKind::Sign(_) => self.at += 1,
        }
    }

    fn peek(&self, ahead: usize) -> Option<&CodeToken> {
        self.tokens.get(self.at + ahead)
    }

    fn before(&self) -> Option<&CodeToken> {
        self.tokens.get(self.at.checked_sub(1)?)
    }

    /// The brackets that are open directly in the innermost module.
    fn module_depth(&self) -> usize {
        self.around.last().map_or(0, |(_, _, depth)| *depth)
    }

    fn open(&mut self) {
        self.depth += 1;
        self.at += 1;
    }

    fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        if self.depth < self.module_depth() {
            self.close_module();
        }
        let depth = self.depth;
        self.implements.take_if(|(_, inside)| depth < *inside);
        self.at += 1;
    }

    fn close_module(&mut self) {
        if let Some((outer, name, _)) = self.around.pop() {
            let inner = std::mem::replace(&mut self.here, outer);
            self.here.modules.push((name, Some(inner)));
        }
    }

    /// `#[cfg(test)]`, or `all` of that and more.
    fn is_test_attribute(&self) -> bool {
        let word =
            |ahead: usize, word: &str| self.peek(ahead).is_some_and(|token| token.is_word(word));
        let opens = self.peek(1).is_some_and(|token| token.is('['));
        opens && word(2, "cfg") && (word(4, "test") || (word(4, "all") && word(6, "test")))
    }

    /// Passes the attributes and what they stand before: up to a `;` or a `,`, or past its braces.
    fn skip_item(&mut self) {
        while self.peek(0).is_some_and(|token| token.is('#')) {
            self.at += 1;
            self.skip_group();
        }
        let is_item = self
            .peek(0)
            .and_then(CodeToken::word)
            .is_some_and(is_keyword);
        while let Some(token) = self.peek(0) {
            match token.kind {
                TokenKind::Sign(';') => break,
                TokenKind::Sign(',') if !is_item => break,
                TokenKind::Sign('{') if is_item && self.is_use_brace() => self.skip_group(),
                TokenKind::Sign('{') => return self.skip_group(),
                TokenKind::Sign('(' | '[') => self.skip_group(),
                TokenKind::Sign(')' | ']' | '}') => return,
                TokenKind::Word(_)
                | TokenKind::PathSeparator
                | TokenKind::Text(_)
                | TokenKind::Sign(_) => self.at += 1,
            }
        }
        self.at += 1;
    }

    fn is_use_brace(&self) -> bool {
        self.before()
            .is_some_and(|before| before.kind == TokenKind::PathSeparator)
    }

    /// Passes a pair of brackets and what stands between them.
    fn skip_group(&mut self) {
        let mut depth = 0_usize;
        while let Some(token) = self.peek(0) {
            match token.kind {
                TokenKind::Sign('(' | '[' | '{') => depth += 1,
                TokenKind::Sign(')' | ']' | '}') => depth = depth.saturating_sub(1),
                TokenKind::Word(_)
                | TokenKind::PathSeparator
                | TokenKind::Text(_)
                | TokenKind::Sign(_) => {}
            }
            self.at += 1;
            if depth == 0 {
                return;
            }
        }
    }

    fn module(&mut self) {
        let name = self.peek(1).and_then(CodeToken::word).map(str::to_owned);
        let opens = self.peek(2).is_some_and(|token| token.is('{'));
        self.at += 2;
        let Some(name) = name else {
            return;
        };
        if opens {
            self.open();
            let outer = std::mem::take(&mut self.here);
            self.around.push((outer, name, self.depth));
        } else {
            self.here.modules.push((name, None));
        }
    }

    fn macro_rules(&mut self) {
        if let Some(name) = self.peek(2).and_then(CodeToken::word).map(str::to_owned) {
            self.here.macros.insert(name);
        }
        self.at += 3;
    }

    /// Only what stands in the module itself can be named from elsewhere.
    fn item(&mut self) {
        if self.peek(0).is_some_and(|token| token.is_word("enum")) {
            self.variants = self.depth + 1;
        }
        let is_function = self.peek(0).is_some_and(|token| token.is_word("fn"));
        self.at += 1;
        let Some(name) = self.peek(0).and_then(CodeToken::word).map(str::to_owned) else {
            return;
        };
        if is_keyword(&name) || name == "mut" {
            return;
        }
        if self.depth == self.module_depth() {
            self.here.items.insert(name);
        } else if is_function {
            let implements = self.implements.as_ref();
            let of = implements.filter(|(_, depth)| *depth == self.depth);
            self.here
                .methods
                .push((name, of.map(|(path, _)| path.clone())));
        }
        self.at += 1;
    }

    /// The type of an `impl` without a trait.
    fn implemented_type(&self) -> Option<Vec<String>> {
        let header = self.tokens.get(self.at + 1..).unwrap_or_default();
        let ends = |token: &CodeToken| token.is('{') || token.is_word("where");
        let header = header.split(ends).next()?;
        let of_trait = header.iter().any(|token| token.is_word("for"));
        let mut angles = 0_usize;
        let mut before = ' ';
        let mut path = Vec::new();
        for token in header {
            match &token.kind {
                TokenKind::Sign('<') if path.is_empty() => angles += 1,
                TokenKind::Sign('>') if before != '-' => angles = angles.saturating_sub(1),
                TokenKind::Word(word) if angles == 0 => path.push(word.clone()),
                TokenKind::PathSeparator => {}
                TokenKind::Sign(_) if angles == 0 => break,
                TokenKind::Word(_) | TokenKind::Text(_) | TokenKind::Sign(_) => {}
            }
            before = match token.kind {
                TokenKind::Sign(sign) => sign,
                TokenKind::Word(_) | TokenKind::PathSeparator | TokenKind::Text(_) => ' ',
            };
        }
        (!of_trait && !path.is_empty()).then_some(path)
    }

    fn use_item(&mut self) {
        let is_public = self
            .before()
            .is_some_and(|before| before.is_word("pub") || before.is(')'));
        self.at += 1;
        self.use_tree(&[], is_public);
    }

    /// One tree, up to the sign that ends it, which stays.
    fn use_tree(&mut self, above: &[String], is_public: bool) {
        let mut path = above.to_vec();
        let mut line = 0;
        let mut name = None;
        while let Some(token) = self.peek(0) {
            match &token.kind {
                TokenKind::PathSeparator if path.is_empty() => path.push("::".to_owned()), // another crate
                TokenKind::PathSeparator => {}
                TokenKind::Word(word) if word == "as" => {
                    name = self.peek(1).and_then(CodeToken::word).map(str::to_owned);
                    self.at += 1;
                }
                TokenKind::Word(word) => {
                    path.push(word.clone());
                    line = token.line;
                }
                TokenKind::Sign('*') => {
                    self.here.globs.push(path);
                    self.at += 1;
                    return;
                }
                TokenKind::Sign('{') => return self.use_trees(&path, is_public),
                TokenKind::Sign(_) | TokenKind::Text(_) => break,
            }
            self.at += 1;
        }
        if line > 0 {
            self.import(path, name, line, is_public);
        }
    }

    fn use_trees(&mut self, above: &[String], is_public: bool) {
        self.at += 1;
        while let Some(token) = self.peek(0) {
            match token.kind {
                TokenKind::Sign('}') => {
                    self.at += 1;
                    return;
                }
                TokenKind::Sign(',') => self.at += 1,
                TokenKind::Word(_)
                | TokenKind::PathSeparator
                | TokenKind::Text(_)
                | TokenKind::Sign(_) => {
                    self.use_tree(above, is_public);
                }
            }
        }
    }

    fn import(
        &mut self,
        mut path: Vec<String>,
        name: Option<String>,
        line: usize,
        is_public: bool,
    ) {
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        if let Some(name) = name.or_else(|| path.last().cloned()) {
            self.here
                .imports
                .entry(name)
                .or_default()
                .push(path.clone());
        }
        if !is_public {
            self.add(path, line, false);
        }
    }

    /// `= "crate::wire::duration"` in an attribute.
    fn quoted_path(&mut self, text: &str, line: usize) {
        let path: Vec<String> = text.split("::").map(str::to_owned).collect();
        let is_name = |name: &String| {
            name.chars()
                .all(|letter| letter == '_' || letter.is_alphanumeric())
        };
        let begins = path
            .first()
            .is_some_and(|first| first == "crate" || first == "super");
        if begins && path.iter().all(is_name) {
            self.add(path, line, false);
        }
        self.at += 1;
    }

    fn path(&mut self) {
        let of_value = self.follows_dot();
        let follows = of_value || self.follows_path() || self.is_variant();
        let line = self.peek(0).map_or(0, |token| token.line);
        let mut path = Vec::new();
        while let Some(word) = self.peek(0).and_then(CodeToken::word) {
            path.push(word.to_owned());
            self.at += 1;
            let separated = self
                .peek(0)
                .is_some_and(|token| token.kind == TokenKind::PathSeparator);
            if !separated || self.peek(1).and_then(CodeToken::word).is_none() {
                break;
            }
            self.at += 1;
        }
        let next = |sign| self.peek(0).is_some_and(|token| token.is(sign));
        let calls_macro = next('!') && !self.peek(1).is_some_and(|token| token.is('='));
        let may_be_local =
            path.len() == 1 && !begins_upper(&path) && !calls_macro && !next('(') && !next('<');
        let is_generic = self
            .peek(0)
            .is_some_and(|token| token.kind == TokenKind::PathSeparator);
        if !follows && !may_be_local {
            self.add(path, line, calls_macro);
        } else if of_value && (next('(') || is_generic) {
            self.here.calls.push((path.concat(), line));
        }
    }

    /// This belongs to the preceding value.
    fn follows_dot(&self) -> bool {
        let two_before = self.at.checked_sub(2).and_then(|at| self.tokens.get(at));
        let is_range = two_before.is_some_and(|token| token.is('.'));
        !is_range && self.before().is_some_and(|before| before.is('.'))
    }

    /// This belongs to the preceding type, or is a macro variable.
    fn follows_path(&self) -> bool {
        let is_crate = self.peek(0).is_some_and(|token| token.is_word("crate"));
        let before = self.before();
        before.is_some_and(|before| {
            before.kind == TokenKind::PathSeparator || before.is('$') && !is_crate
        })
    }

    fn is_variant(&self) -> bool {
        let before = self.before();
        let is_first =
            before.is_some_and(|token| ['{', ',', ']'].iter().any(|sign| token.is(*sign)));
        self.depth == self.variants && is_first
    }

    fn add(&mut self, path: Vec<String>, line: usize, calls_macro: bool) {
        self.here.uses.push(Use {
            path,
            line,
            calls_macro,
        });
    }
}

fn is_keyword(word: &str) -> bool {
    ITEMS.contains(&word)
        || matches!(
            word,
            "async" | "extern" | "impl" | "let" | "macro_rules" | "mod" | "pub" | "unsafe" | "use"
        )
}

fn begins_upper(path: &[String]) -> bool {
    let first = path.first().and_then(|name| name.chars().next());
    first.is_some_and(char::is_uppercase)
}
