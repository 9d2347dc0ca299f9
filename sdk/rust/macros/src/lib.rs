//! The macros of `pilothouse-sdk`; use them through it. They expand to paths under `::pilothouse_sdk`, so the SDK must be
//! a dependency under its own name. What is wrong in their input is a compile error at its place.

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields, ItemFn, LitStr, Result, parse_macro_input};

/// Makes the function that describes a plugin the plugin: compiled for `wasm32`, the component's exports stand on it;
/// compiled natively, it is a plain function that tests call. The function takes nothing and returns a
/// `pilothouse_sdk::Plugin`. One per crate. The plugin's version is the crate's unless the description sets one.
#[proc_macro_attribute]
pub fn plugin(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as ItemFn);
    expand_plugin(arguments.into(), function)
        .unwrap_or_else(Error::into_compile_error)
        .into()
}

fn expand_plugin(arguments: Tokens, function: ItemFn) -> Result<Tokens> {
    if !arguments.is_empty() {
        return Err(Error::new_spanned(arguments, "#[plugin] takes no arguments"));
    }
    let signature = &function.sig;
    if !signature.inputs.is_empty()
        || !signature.generics.params.is_empty()
        || signature.asyncness.is_some()
        || matches!(signature.output, syn::ReturnType::Default)
    {
        return Err(Error::new_spanned(
            signature,
            "#[plugin] stands on `fn name() -> Plugin`, which describes the plugin",
        ));
    }
    let ItemFn {
        attrs, vis, sig, block, ..
    } = &function;
    let name = &sig.ident;
    Ok(quote! {
        #(#attrs)*
        #vis #sig {
            let described: ::pilothouse_sdk::Plugin = #block;
            described.or_version(::core::env!("CARGO_PKG_VERSION"))
        }

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Described;
            impl ::pilothouse_sdk::guest::Described for Described {
                fn plugin() -> ::pilothouse_sdk::Plugin {
                    #name()
                }
            }
            type Exports = ::pilothouse_sdk::guest::Exports<Described>;
            ::pilothouse_sdk::guest::bindings::export_plugin!(Exports with_types_in ::pilothouse_sdk::guest::bindings);
        };
    })
}

/// Implements `pilothouse_sdk::Kind` for a struct that is read and written through serde:
/// `#[kind("GROUP/VERSION")]`, or `#[kind("VERSION")]` for the core group. The struct needs a field `metadata` (of type
/// `pilothouse_sdk::Metadata`, or another that implements `Meta`). Its name is the kind's unless `kind = "…"` says
/// otherwise; `scope = "Cluster"` is for kinds whose objects live in no namespace.
#[proc_macro_derive(Kind, attributes(kind))]
pub fn kind(item: TokenStream) -> TokenStream {
    let input = parse_macro_input!(item as DeriveInput);
    expand_kind(&input).unwrap_or_else(Error::into_compile_error).into()
}

fn expand_kind(input: &DeriveInput) -> Result<Tokens> {
    const USE: &str = "say which kind this is: #[kind(\"GROUP/VERSION\")], or #[kind(\"v1\")] for the core group";
    let attribute = input
        .attrs
        .iter()
        .find(|attribute| attribute.path().is_ident("kind"))
        .ok_or_else(|| Error::new_spanned(&input.ident, USE))?;
    let (mut api_version, mut kind, mut cluster) = (None::<LitStr>, input.ident.to_string(), false);
    attribute.parse_args_with(|stream: syn::parse::ParseStream<'_>| {
        api_version = Some(stream.parse().map_err(|error| Error::new(error.span(), USE))?);
        while !stream.is_empty() {
            stream.parse::<syn::Token![,]>()?;
            if stream.is_empty() {
                break;
            }
            let option: syn::Ident = stream.parse()?;
            stream.parse::<syn::Token![=]>()?;
            let value: LitStr = stream.parse()?;
            match (option.to_string().as_str(), value.value().as_str()) {
                ("kind", _) => kind = value.value(),
                ("scope", "Cluster") => cluster = true,
                ("scope", "Namespaced") => cluster = false,
                ("scope", _) => return Err(Error::new_spanned(value, "\"Namespaced\" (the default) or \"Cluster\"")),
                _ => return Err(Error::new_spanned(option, "`kind = \"…\"` or `scope = \"Cluster\"`")),
            }
        }
        Ok(())
    })?;
    let api_version = api_version.ok_or_else(|| Error::new_spanned(attribute, USE))?;
    let text = api_version.value();
    let (group, version) = text.split_once('/').unwrap_or(("", &text));
    if version.is_empty() || version.contains('/') || (text.contains('/') && group.is_empty()) {
        return Err(Error::new_spanned(&api_version, USE));
    }

    let Data::Struct(data) = &input.data else {
        return Err(Error::new_spanned(&input.ident, "a kind is a struct"));
    };
    let metadata = match &data.fields {
        Fields::Named(fields) => fields
            .named
            .iter()
            .find(|field| field.ident.as_ref().is_some_and(|name| name == "metadata")),
        _ => None,
    }
    .map(|field| &field.ty)
    .ok_or_else(|| Error::new_spanned(&input.ident, "a kind has a field `metadata: Metadata`"))?;

    let scope = if cluster { quote!(Cluster) } else { quote!(Namespaced) };
    let name = &input.ident;
    let (parameters, arguments, conditions) = input.generics.split_for_impl();
    Ok(quote! {
        impl #parameters ::pilothouse_sdk::Kind for #name #arguments #conditions {
            type Metadata = #metadata;
            const GROUP: &'static str = #group;
            const VERSION: &'static str = #version;
            const KIND: &'static str = #kind;
            const SCOPE: ::pilothouse_sdk::Scope = ::pilothouse_sdk::Scope::#scope;

            fn meta(&self) -> &Self::Metadata {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut Self::Metadata {
                &mut self.metadata
            }
        }
    })
}
