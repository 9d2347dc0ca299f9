//! What operators ask and tell a running host: `status`, `plugins`, `queue`, `parked`.
//!
//! | module | what is in it |
//! |---|---|
//! | [`args`] | the command lines |
//! | `client` | the exchange with the host |
//! | `text`, `keys`, `table` | answers as people read them |
//!
//! Promises: answers go to stdout, and with `-o json` as the host gave them; what guests and servers wrote can't steer
//! a terminal. It reads nothing of the host's own files.

pub(crate) mod args;
mod client;
mod keys;
mod table;
mod text;

use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    admin::api::{Ordered, Parked, PluginDetail, QueueDetail, Released, Status},
    args::Output,
    dev::style,
    exit::{FAILED, OK, Stop},
    inspect::answer,
};
use args::{Asking, Form, ParkedWhat, PluginsWhat};
use client::{Answered, Client, Path};
use text::Look;

/// Keys that are asked for at once.
const PAGE: u32 = 500;

/// `pilothouse status`.
///
/// # Errors
/// No host is there, or it refuses.
pub(crate) async fn status(args: &args::Status) -> Result<u8, Stop> {
    let answered = all(&args.asking).await?;
    show(&args.asking, &answered, |look, status: &Status| {
        text::status(look, status)
    })?;
    Ok(OK)
}

async fn all(asking: &Asking) -> Result<Answered<Status>, Stop> {
    let detail = (asking.output != Form::Text).then_some("true");
    Client::new(asking)?
        .get(Path::new(&["status"]).with("detail", detail))
        .await
}

/// `pilothouse plugins`. The exit code is 1 where an order did not lead to what was ordered.
///
/// # Errors
/// No host is there, or it refuses.
pub(crate) async fn plugins(args: &args::Plugins) -> Result<u8, Stop> {
    match &args.what {
        PluginsWhat::List(asking) => {
            let answered = all(asking).await?;
            show(asking, &answered, |look, status: &Status| {
                text::plugins(look, &status.plugins)
            })?;
            Ok(OK)
        }
        PluginsWhat::Show(own) => {
            let path = Path::new(&["plugins", &own.name]);
            let answered = Client::new(&own.asking)?.get(path).await?;
            show(&own.asking, &answered, |look, detail: &PluginDetail| {
                text::plugin(look, detail)
            })?;
            Ok(OK)
        }
        PluginsWhat::Enable(own) => order("enable", own, None).await,
        PluginsWhat::Disable(own) => order("disable", own, None).await,
        PluginsWhat::Rollback(own) => order("rollback", own, None).await,
        PluginsWhat::Reset(own) => order("reset", own, None).await,
        PluginsWhat::Promote(own) => {
            let args::Promote {
                name,
                hash,
                waiting,
                asking,
            } = own;
            ordered("promote", name, waiting, asking, Some(hash)).await
        }
    }
}

async fn order(what: &str, own: &args::Order, version: Option<&str>) -> Result<u8, Stop> {
    ordered(what, &own.name, &own.waiting, &own.asking, version).await
}

async fn ordered(
    what: &str,
    name: &str,
    waiting: &args::Waiting,
    asking: &Asking,
    version: Option<&str>,
) -> Result<u8, Stop> {
    let path = Path::new(&["plugins", name, what])
        .with("version", version)
        .with("wait", Some(&waiting.wait.to_string()));
    let wait = Duration::from_secs(waiting.wait.into());
    let answered: Answered<Ordered> = Client::new(asking)?.post(path, wait).await?;
    let accepted = answered.accepted;
    show(asking, &answered, |look, ordered: &Ordered| {
        let plugins = text::plugins(look, std::slice::from_ref(&ordered.plugin));
        if accepted {
            format!(
                "accepted; it goes on: `pilothouse plugins show {}`\n{plugins}",
                look.style.shown(name)
            )
        } else {
            plugins
        }
    })?;
    match answered.body.failed {
        None => Ok(OK),
        Some(why) => {
            let why = pilothouse_object::escape_control(&why).into_owned();
            Err(Stop {
                code: FAILED,
                message: format!(
                    "{what} {}: it did not come to that: {why}",
                    pilothouse_object::escape_control(name)
                ),
            })
        }
    }
}

/// `pilothouse queue`.
///
/// # Errors
/// No host is there, or it refuses.
pub(crate) async fn queue(args: &args::Queue) -> Result<u8, Stop> {
    let path = Path::new(&["queues", &args.name])
        .with("controller", args.controller.as_deref())
        .with("limit", Some(&args.limit.to_string()));
    let answered = Client::new(&args.asking)?.get(path).await?;
    show(&args.asking, &answered, |look, detail: &QueueDetail| {
        keys::queue(look, detail)
    })?;
    Ok(OK)
}

/// `pilothouse parked`.
///
/// # Errors
/// No host is there, or it refuses; a key that is named is not parked.
pub(crate) async fn parked(args: &args::Parked) -> Result<u8, Stop> {
    match &args.what {
        ParkedWhat::List(own) => {
            let answered = list(own).await?;
            show(&own.asking, &answered, |look, parked: &Parked| {
                keys::parked_list(look, &parked.keys, parked.next.is_some())
            })?;
        }
        ParkedWhat::Show(own) => {
            let path = Path::new(&["parked"])
                .with("plugin", Some(&own.plugin))
                .with("controller", own.controller.as_deref())
                .with("key", Some(&own.key));
            let answered: Answered<Parked> = Client::new(&own.asking)?.get(path).await?;
            if answered.body.keys.is_empty() {
                let key = pilothouse_object::escape_control(&own.key);
                return Err(Stop::failed(format!(
                    "{key} is not parked there: `pilothouse parked list` shows what is, and `pilothouse queue` what waits"
                )));
            }
            show(&own.asking, &answered, |look, parked: &Parked| {
                keys::parked_show(look, &parked.keys)
            })?;
        }
        ParkedWhat::Retry(own) => release("retry", "tried again", own).await?,
        ParkedWhat::Drop(own) => release("drop", "dropped", own).await?,
    }
    Ok(OK)
}

/// Page after page, until there are as many as asked for.
async fn list(own: &args::ParkedList) -> Result<Answered<Parked>, Stop> {
    let client = Client::new(&own.asking)?;
    let most = if own.limit == 0 { u32::MAX } else { own.limit };
    let mut next = None;
    let mut whole: Option<Answered<Parked>> = None;
    loop {
        let got = whole.as_ref().map_or(0, |whole| whole.body.keys.len());
        let left = most.saturating_sub(u32::try_from(got).unwrap_or(u32::MAX));
        let path = Path::new(&["parked"])
            .with("plugin", own.plugin.as_deref())
            .with("limit", Some(&left.min(PAGE).to_string()))
            .with("continue", next.as_deref());
        let mut page: Answered<Parked> = client.get(path).await?;
        next.clone_from(&page.body.next);
        let Some(all) = &mut whole else {
            whole = Some(page);
            if next.is_none() || most <= PAGE {
                break;
            }
            continue;
        };
        all.body.next.clone_from(&page.body.next);
        all.body.keys.append(&mut page.body.keys);
        if let (Some(Value::Array(own)), Some(Value::Array(more))) =
            (all.value.get_mut("keys"), page.value.get_mut("keys"))
        {
            own.append(more);
        }
        all.value["continue"] = page.value["continue"].take();
        if next.is_none() || all.body.keys.len() >= most as usize {
            break;
        }
    }
    whole.ok_or_else(|| Stop::failed("the host answered nothing"))
}

async fn release(what: &str, past: &str, own: &args::ParkedKeys) -> Result<(), Stop> {
    let path = Path::new(&["parked", what])
        .with("plugin", own.plugin.as_deref())
        .with("controller", own.controller.as_deref())
        .with("key", own.key.as_deref())
        .with("all", own.all.then_some("true"));
    let answered = Client::new(&own.asking)?.post(path, Duration::ZERO).await?;
    show(&own.asking, &answered, |_, released: &Released| match released.keys {
        0 => "No key is parked there.\n".to_owned(),
        1 => format!("1 key {past}\n"),
        keys => format!("{keys} keys {past}\n"),
    })
}

/// Writes an answer to stdout in the form asked for.
fn show<T: DeserializeOwned + Serialize>(
    asking: &Asking,
    answered: &Answered<T>,
    text: impl Fn(Look, &T) -> String,
) -> Result<(), Stop> {
    let look = Look {
        style: style(asking.color),
        columns: table::columns(),
        wide: asking.output == Form::Wide,
    };
    let form = match asking.output {
        Form::Json => Output::Json,
        Form::Text | Form::Wide => Output::Text,
    };
    // As the host gave it: what this version does not know of is not left out.
    answer(form, &answered.value, |_| text(look, &answered.body))
}
