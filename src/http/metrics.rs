//! `/metrics`. Rooms count as they go, into one recorder of the process; what is a state rather than a history (actors,
//! pool, queues) is read when somebody asks, so that a vanished actor leaves no series behind.

use std::sync::OnceLock;

use greenroom_kit::State;
use http::StatusCode;
use metrics::{gauge, with_local_recorder};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use super::answer::{self, Answer};
use super::call::Call;
use crate::house::House;

/// From half a millisecond, which is the budget of a first token, to the longest call.
const SECONDS: [f64; 18] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0];

/// The process's recorder. There is one, however many servers a test runs.
static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Installs the recorder, once.
pub fn install() -> Option<PrometheusHandle> {
    RECORDER.get_or_init(|| builder().and_then(PrometheusBuilder::install_recorder).ok()).clone()
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)
}

/// `GET /metrics`.
pub async fn get(call: Call) -> Answer {
    let history = install().map(|handle| handle.render()).unwrap_or_default();
    let body = format!("{history}{}", states(&call.house));
    Ok(answer::whole(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", body))
}

/// The states of this moment, written through a recorder of their own.
fn states(house: &House) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    with_local_recorder(&recorder, || {
        record_actors(house);
        record_rooms(house);
    });
    handle.render()
}

fn record_actors(house: &House) {
    let (mut turns, mut waiting) = (0u32, 0usize);
    for card in house.board().views() {
        if card.kind == "turn" {
            turns += 1;
            waiting += card.mailbox_depth;
            continue;
        }
        let labels = [("actor", card.name.clone()), ("kind", card.kind.to_owned())];
        gauge!("greenroom_actor_up", &labels).set(f64::from(u8::from(card.state == State::Up)));
        gauge!("greenroom_actor_restarts", &labels).set(f64::from(card.restarts));
        gauge!("greenroom_actor_mailbox_depth", &labels).set(card.mailbox_depth as f64);
        let oldest = card.oldest_waiting_ms.unwrap_or_default() as f64 / 1000.0;
        gauge!("greenroom_actor_oldest_message_age", &labels).set(oldest);
        gauge!("greenroom_actor_messages_handled", &labels).set(card.handled as f64);
        gauge!("greenroom_actor_in_flight", &labels).set(card.in_flight as f64);
    }
    let labels = [("kind", "turn")];
    gauge!("greenroom_turn_actors", &labels).set(f64::from(turns));
    gauge!("greenroom_turn_mailbox_depth", &labels).set(waiting as f64);
}

fn record_rooms(house: &House) {
    let turns = house.turns.counts();
    gauge!("greenroom_turns_active").set(turns.active as f64);
    gauge!("greenroom_turns_streaming").set(turns.streaming as f64);
    gauge!("greenroom_turn_permits_taken").set(house.admission.taken() as f64);
    let pool = house.store.facts();
    gauge!("greenroom_pool_connections_max").set(pool.pool_max as f64);
    gauge!("greenroom_pool_connections").set(pool.pool_size as f64);
    gauge!("greenroom_pool_connections_in_use").set(pool.pool_in_use as f64);
    gauge!("greenroom_pool_waiting").set(pool.pool_waiting as f64);
    gauge!("greenroom_http_connections").set(house.connections.open() as f64);
    gauge!("greenroom_uptime").set(house.uptime().as_secs_f64());
}
