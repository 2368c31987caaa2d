//! `#[recover(…)]`: a function that is made again if it fails. See `evenkeel_tolerate::recover`, which re-exports it; apart
//! because a procedural macro must be a crate of its own.

mod arguments;
mod expand;

use proc_macro::TokenStream;

/// Makes the body of a function one attempt of a call under a policy.
///
/// ```text
/// #[recover(call = idempotent, policy = PAYMENTS, classify = meaning, repair = reconnect, fallback = cached, analyze = report)]
/// async fn receipt(attempt: Attempt, client: &Client, id: u64) -> Result<Receipt, PayError> { … }
///
/// let receipt: Result<Receipt, Failed<PayError>> = receipt(&client, 7).await;
/// ```
///
/// The function returns `Result<T, Failed<E>>` where its body returns `Result<T, E>`: the last error with what was tried and why
/// it stopped. A first argument of the type `Attempt` is filled in; callers do not pass it. All other arguments
/// are cloned for each attempt. Async functions are recovered with `run`, others with `run_blocking`.
///
/// | argument | | |
/// |---|---|---|
/// | `call` | `idempotent`, `keyed` or `once` | required: whether it may be made twice is not guessed |
/// | `policy` | an expression that is a `Recovery`, or derefs to one | default: the process's default policy |
/// | `name` | a string | default: the function's name |
/// | `classify` | `fn(&E) -> Verdict` | default: any error may pass |
/// | `repair` | `[async] fn(Option<&E>, Attempt) -> Repaired` | runs before a retry |
/// | `fallback` | a function with the same arguments and result | its value if the call failed; its error never hides the call's |
/// | `analyze` | `fn(&Incident)` | hears of each call that did not work at once |
#[proc_macro_attribute]
pub fn recover(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = syn::parse_macro_input!(arguments as arguments::Arguments);
    let function = syn::parse_macro_input!(item as syn::ItemFn);
    expand::expand(&arguments, function)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
