//! What `#[recover(…)]` makes of a function: the same signature without the attempt, around a closure that holds the body.
//!
//! All decisions stay in the library: what is written here calls what a program would call by hand.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Error, FnArg, Ident, ItemFn, Pat, PatType, Result, ReturnType, Type};

use crate::arguments::Arguments;

/// The function's arguments, sorted.
struct Inputs {
    /// How the body calls its attempt, and whether by reference.
    attempt: Option<(Box<Pat>, bool)>,
    has_self: bool,
    names: Vec<Ident>,
}

pub(crate) fn expand(arguments: &Arguments, mut function: ItemFn) -> Result<TokenStream> {
    let ReturnType::Type(_, result) = function.sig.output.clone() else {
        let text = "a function that returns nothing cannot fail; let it return a `Result`";
        return Err(Error::new_spanned(&function.sig, text));
    };
    if let Some(constness) = &function.sig.constness {
        let text = "a `const fn` cannot be made again at run time";
        return Err(Error::new_spanned(constness, text));
    }
    let inputs = inputs(&mut function)?;
    let of = quote!(<#result as ::evenkeel_tolerate::policy::Fallible>);
    function.sig.output = syn::parse_quote! {
        -> ::core::result::Result<#of::Value, ::evenkeel_tolerate::Failed<#of::Error>>
    };
    let is_async = function.sig.asyncness.is_some();
    let described = described(arguments, &function.sig.ident, &of, is_async);
    let running = running(arguments, &inputs, &result, &function, is_async);
    let policy = policy(arguments);
    let analyzed = arguments.analyze.as_ref().map(|analyze| {
        quote! {
            if let ::core::option::Option::Some(__incident) = (#policy).incident(&__recovered) {
                #analyze(&__incident);
            }
        }
    });
    function.block = syn::parse_quote! {{
        let __recovered = #described #running;
        #analyzed
        __recovered.into_result()
    }};
    Ok(quote!(#function))
}

/// Takes the attempt out of the arguments; the rest must be plain names, since each attempt clones them.
fn inputs(function: &mut ItemFn) -> Result<Inputs> {
    let mut sorted = Inputs {
        attempt: None,
        has_self: false,
        names: Vec::new(),
    };
    let mut kept = syn::punctuated::Punctuated::new();
    for input in std::mem::take(&mut function.sig.inputs) {
        match &input {
            FnArg::Receiver(receiver) => {
                if receiver.reference.is_none() || receiver.mutability.is_some() {
                    let text = "each attempt needs `self`: take it as `&self`";
                    return Err(Error::new_spanned(receiver, text));
                }
                sorted.has_self = true;
            }
            FnArg::Typed(typed) => {
                if let Some(by_reference) = is_attempt(&typed.ty) {
                    if sorted.attempt.is_some() {
                        return Err(Error::new_spanned(typed, "there is one attempt only"));
                    }
                    sorted.attempt = Some((typed.pat.clone(), by_reference));
                    continue;
                }
                sorted.names.push(name_of(typed)?);
            }
        }
        kept.push(input);
    }
    function.sig.inputs = kept;
    Ok(sorted)
}

fn name_of(typed: &PatType) -> Result<Ident> {
    let Pat::Ident(name) = &*typed.pat else {
        let text = "give the argument a plain name, for it is cloned for each attempt";
        return Err(Error::new_spanned(&typed.pat, text));
    };
    if let Type::Reference(reference) = &*typed.ty
        && reference.mutability.is_some()
    {
        let text = "a `&mut` cannot be given to more than one attempt; share it, or change it before the call";
        return Err(Error::new_spanned(typed, text));
    }
    Ok(name.ident.clone())
}

/// Whether a type is `Attempt` or `&Attempt`; true for the latter.
fn is_attempt(of: &Type) -> Option<bool> {
    match of {
        Type::Reference(reference) => is_attempt(&reference.elem).map(|_| true),
        Type::Path(path) => {
            let last = path.path.segments.last()?;
            (last.ident == "Attempt").then_some(false)
        }
        _ => None,
    }
}

fn policy(arguments: &Arguments) -> TokenStream {
    match &arguments.policy {
        Some(policy) => quote!(#policy),
        None => quote!(::evenkeel_tolerate::policy::default_policy()),
    }
}

/// `policy.call(…).classify(…).repair(…)`
fn described(
    arguments: &Arguments,
    function: &Ident,
    of: &TokenStream,
    is_async: bool,
) -> TokenStream {
    let (policy, kind) = (policy(arguments), &arguments.call);
    let name = match &arguments.name {
        Some(name) => quote!(#name),
        None => {
            let name = function.to_string();
            quote!(#name)
        }
    };
    let classify = arguments
        .classify
        .as_ref()
        .map(|it| quote!(.classify(::evenkeel_tolerate::policy::Errors(#it))));
    let repair = arguments.repair.as_ref().map(|it| {
        let error = quote!(__error: ::core::option::Option<&#of::Error>);
        if is_async {
            quote!(.repair(|#error, __attempt| ::std::boxed::Box::pin(#it(__error, __attempt))))
        } else {
            quote!(.repair_blocking(|#error, __attempt| #it(__error, __attempt)))
        }
    });
    quote!((#policy).call(::evenkeel_tolerate::Call::#kind(#name)) #classify #repair)
}

/// `.run(|attempt| …)`, with the fallback if there is one.
fn running(
    arguments: &Arguments,
    inputs: &Inputs,
    result: &Type,
    function: &ItemFn,
    is_async: bool,
) -> TokenStream {
    let (names, block) = (&inputs.names, &function.block);
    let attempt = inputs.attempt.as_ref().map(|(pattern, by_reference)| {
        let by = by_reference.then(|| quote!(&));
        quote!(let #pattern = #by __attempt;)
    });
    let cloned = quote!(#(let #names = ::core::clone::Clone::clone(&#names);)*);
    let typed = quote!(::evenkeel_tolerate::policy::attempt_of::<#result, _>);
    let body = if is_async {
        quote!(|__attempt: ::evenkeel_tolerate::Attempt| {
            #cloned
            #typed(async move { #attempt #block })
        })
    } else {
        quote!(|__attempt: ::evenkeel_tolerate::Attempt| -> #result { #cloned #attempt #block })
    };
    let fallback = arguments.fallback.as_ref().map(|fallback| {
        let receiver = inputs.has_self.then(|| quote!(self,));
        let again: Vec<Ident> = names.iter().map(|name| format_ident!("{name}")).collect();
        quote!(|_| #fallback(#receiver #(::core::clone::Clone::clone(&#again)),*))
    });
    match (is_async, fallback) {
        (true, None) => quote!(.run(#body).await),
        (true, Some(fallback)) => quote!(.run_or_else(#body, #fallback).await),
        (false, None) => quote!(.run_blocking(#body)),
        (false, Some(fallback)) => quote!(.run_blocking_or_else(#body, #fallback)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(function: &str) -> String {
        let arguments = syn::parse_str("call = once").expect("arguments");
        let function = syn::parse_str(function).expect("a function");
        let expanded = expand(&arguments, function);
        expanded.expect_err("it is wrong").to_string()
    }

    #[test]
    fn what_cannot_be_made_again_is_said() {
        assert!(error("fn a() {}").starts_with("a function that returns nothing cannot fail"));
        assert!(error("const fn a() -> R { x }").starts_with("a `const fn`"));
        assert!(error("fn a(self) -> R { x }").starts_with("each attempt needs `self`"));
        assert!(error("fn a(&mut self) -> R { x }").starts_with("each attempt needs `self`"));
        assert!(
            error("fn a((b, c): (u8, u8)) -> R { x }").starts_with("give the argument a plain")
        );
        assert!(error("fn a(b: &mut u8) -> R { x }").starts_with("a `&mut` cannot be given"));
        assert!(
            error("fn a(b: Attempt, c: &Attempt) -> R { x }").starts_with("there is one attempt")
        );
    }
}
