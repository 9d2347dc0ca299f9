//! Asks the API server, when it is due.

use std::sync::{Arc, Mutex};

use http::Method;
use pilothouse_runtime::ApiError;

use super::{
    Access, Finding,
    questions::{Question, verdict},
};
use crate::{
    api::{kinds::Kinds, requests::Api},
    core::Core,
    lock::lock,
    versions::live::Live,
};

/// Where reviews are asked for.
const REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";

/// Asks everything there is to ask about who acts for a plugin, up to the first denial. As the host, in its own turn.
pub(crate) async fn ask(access: &Access, api: &Api, kinds: &Kinds) -> Finding {
    let mut unanswered = None;
    for question in &access.questions {
        match one(access, api, kinds, question).await {
            Ok(None) => {}
            Ok(Some(denied)) => return Finding::Denied(denied),
            Err(error) => {
                let why = if error.code == 403 {
                    format!(
                        "{}: let the host's account create subjectaccessreviews.authorization.k8s.io (`pilothouse rbac` \
                         prints its role)",
                        error.message
                    )
                } else {
                    error.message
                };
                // A denial further on would be known; but who doesn't answer is not asked hundreds of times.
                unanswered = Some(why);
                break;
            }
        }
    }
    unanswered.map_or(Finding::Allowed, Finding::NoAnswer)
}

/// Why it is denied, if it is.
async fn one(access: &Access, api: &Api, kinds: &Kinds, question: &Question) -> Result<Option<String>, ApiError> {
    let resource = kinds.resolve(&question.kind).await?;
    let body = question.body(&resource.plural, &access.user_text, &access.groups);
    let body = body.to_string().into_bytes();
    let answer = api
        .send(Method::POST, REVIEWS.to_owned(), Some("application/json"), body)
        .await?;
    let reason = verdict(&answer).map_err(|why| ApiError::of_host(pilothouse_runtime::reason::UNAVAILABLE, why))?;
    Ok(reason.map(|reason| question.denied(&access.plugin, &access.whom, &resource.plural, &reason)))
}

/// Reviews the access of every plugin that serves and acts as another, until the host stops.
#[expect(clippy::disallowed_methods, reason = "a driver: waits for what is due")]
pub(crate) async fn run(core: Arc<Core>, live: Arc<Mutex<Live>>, mut rng: fastrand::Rng) {
    loop {
        // Registered before looking, so that one that comes in between is not missed.
        let come = core.reviews.notified();
        let next = {
            let live = lock(&live);
            let all = live.plugins().filter_map(|state| state.access.clone());
            all.min_by_key(|access| access.due())
        };
        let due = async {
            match &next {
                Some(access) => tokio::time::sleep(access.due().saturating_sub(core.now())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = core.stops() => return,
            () = come => continue,
            () = due => {}
        }
        let Some(access) = next else { continue };
        let finding = tokio::select! {
            biased;
            () = core.stops() => return,
            finding = ask(&access, &core.shared.api, &core.shared.kinds) => finding,
        };
        let found = finding.as_str();
        access.take(core.now(), &mut rng, finding);
        {
            // As `begin` and `switch` lock them; another version may serve by now, which has reviews of its own.
            let mut dispatcher = lock(&core.dispatcher);
            let live = lock(&live);
            let own = live.plugin(&access.plugin).and_then(|state| state.access.as_ref());
            if own.is_some_and(|own| Arc::ptr_eq(own, &access)) {
                dispatcher.hold(&access.plugin, !access.is_allowed());
                core.shared.metrics.reviewed(&access.plugin, found);
                core.shared.metrics.access(&access.plugin, Some(access.is_allowed()));
            }
        }
        core.wake.notify_one();
    }
}
