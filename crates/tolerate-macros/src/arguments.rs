//! What stands in the brackets of `#[recover(…)]`, and what is said about what may not stand there.

use proc_macro2::Span;
use syn::parse::{Parse, ParseStream};
use syn::{Error, Expr, Ident, LitStr, Path, Result, Token};

const KNOWN: &str = "call, policy, name, classify, repair, fallback, analyze";

#[derive(Debug)]
pub(crate) struct Arguments {
    /// `idempotent`, `keyed` or `once`.
    pub(crate) call: Ident,
    pub(crate) policy: Option<Expr>,
    pub(crate) name: Option<LitStr>,
    pub(crate) classify: Option<Path>,
    pub(crate) repair: Option<Path>,
    pub(crate) fallback: Option<Path>,
    pub(crate) analyze: Option<Path>,
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut call = None;
        let (mut policy, mut name) = (None, None);
        let (mut classify, mut repair, mut fallback, mut analyze) = (None, None, None, None);
        while !input.is_empty() {
            let key: Ident = input.parse()?;
            input.parse::<Token![=]>()?;
            match key.to_string().as_str() {
                "call" => set(&mut call, &key, kind(input)?)?,
                "policy" => set(&mut policy, &key, input.parse()?)?,
                "name" => set(&mut name, &key, input.parse()?)?,
                "classify" => set(&mut classify, &key, input.parse()?)?,
                "repair" => set(&mut repair, &key, input.parse()?)?,
                "fallback" => set(&mut fallback, &key, input.parse()?)?,
                "analyze" => set(&mut analyze, &key, input.parse()?)?,
                other => {
                    let text = format!("there is no argument `{other}`; there are {KNOWN}");
                    return Err(Error::new(key.span(), text));
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        let missing = || {
            let text = "say whether it may be made twice: `call = idempotent`, `call = keyed` or `call = once`";
            Error::new(Span::call_site(), text)
        };
        Ok(Self {
            call: call.ok_or_else(missing)?,
            policy,
            name,
            classify,
            repair,
            fallback,
            analyze,
        })
    }
}

fn kind(input: ParseStream<'_>) -> Result<Ident> {
    let kind: Ident = input.parse()?;
    if ["idempotent", "keyed", "once"].iter().any(|it| kind == it) {
        return Ok(kind);
    }
    let text = format!("`{kind}` is no kind of call; there are idempotent, keyed, once");
    Err(Error::new(kind.span(), text))
}

fn set<T>(slot: &mut Option<T>, key: &Ident, value: T) -> Result<()> {
    if slot.replace(value).is_some() {
        return Err(Error::new(key.span(), format!("`{key}` stands twice")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        let parsed = syn::parse_str::<Arguments>(text);
        parsed.expect_err("it is wrong").to_string()
    }

    #[test]
    fn mistakes_are_named() {
        assert!(error("").starts_with("say whether it may be made twice"));
        assert!(error("policy = P").starts_with("say whether it may be made twice"));
        assert_eq!(
            error("call = twice"),
            "`twice` is no kind of call; there are idempotent, keyed, once"
        );
        assert_eq!(error("call = once, call = keyed"), "`call` stands twice");
        assert!(error("call = once, retries = 3").starts_with("there is no argument `retries`"));
    }

    #[test]
    fn all_arguments_are_read() {
        let text = r#"call = keyed, policy = self.policies["a"], name = "n", classify = a::b, repair = c, fallback = d, analyze = e,"#;
        let parsed = syn::parse_str::<Arguments>(text).expect("it is right");
        assert!(parsed.call == "keyed" && parsed.policy.is_some() && parsed.name.is_some());
        let paths = [
            parsed.classify,
            parsed.repair,
            parsed.fallback,
            parsed.analyze,
        ];
        assert!(paths.iter().all(Option::is_some));
    }
}
