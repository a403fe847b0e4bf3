//! A turn's life with a real database and a scripted model: streaming, ending, re-attaching, crashing.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::house::{House, collect, complete_of, text_of, until_text};
use greenroom_protocol::{FinishReason, TurnEvent, TurnStatus};
use greenroom_turn::{Abort, EndWish, Persona, TurnError, TurnFilter, TurnsSettings};

#[tokio::test]
async fn a_turn_streams_and_its_replay_is_exact_from_every_cursor() {
    let house = House::open().await;
    let (turn, events) = house.run(house.plan("[[chunks=7]]")).await;
    assert_eq!(text_of(&events), "t0 t1 t2 t3 t4 t5 t6 ");
    assert!(matches!(events[0], TurnEvent::Metadata(_)));
    assert_eq!(complete_of(&events).status, TurnStatus::Ok);
    // Once announced, the end is in the database: the detail and the replay say the same as the stream did.
    let detail = house.turns.logs().get(turn.id()).await.expect("stored");
    assert_eq!((detail.status.as_str(), detail.response.as_deref()), ("ok", Some("t0 t1 t2 t3 t4 t5 t6 ")));
    assert_eq!(detail.request["messages"][0]["role"], "system");
    assert!(detail.stage_timings.is_some_and(|timings| timings["execute"].is_number()));
    while house.turns.live(turn.id()).is_some() {
        tokio::task::yield_now().await;
    }
    for cursor in 0..=events.len() {
        let stored = house.turns.attach(turn.id()).await.expect("attaches");
        assert_eq!(collect(&stored, cursor as u64).await, events[cursor..], "behind {cursor}");
    }
    assert!(matches!(house.turns.attach(&greenroom_protocol::TurnId::random()).await, Err(TurnError::NotFound)));
}

#[tokio::test]
async fn viewers_join_late_and_a_stalled_one_costs_the_others_nothing() {
    let house = House::open().await;
    let turn = house.begin(house.plan("[[chunks=200]][[delay_ms=1]]")).await;
    let mut stalled = turn.view(0);
    let mut cx = Context::from_waker(Waker::noop());
    let _ = stalled.poll_events(&mut cx, &mut |_, _| ());
    let viewers: Vec<_> = (0..50u64)
        .map(|n| {
            let turn = turn.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(n * 3)).await;
                collect(&turn, 0).await
            })
        })
        .collect();
    let first = collect(&turn, 0).await;
    for viewer in viewers {
        assert_eq!(viewer.await.expect("viewer"), first);
    }
    // The stalled one has lost nothing either.
    let mut seen = 0;
    while let Poll::Ready(Some(())) = stalled.poll_events(&mut cx, &mut |seq, _| seen = seq) {}
    assert_eq!(seen, first.len() as u64);
}

#[tokio::test]
async fn abort_before_the_first_token_closes_the_upstream_socket() {
    let house = House::open().await;
    let turn = house.begin(house.plan("[[hang_headers]] early")).await;
    house.upstream.wait_for_request(1).await;
    assert_eq!(house.turns.abort(turn.id()).await.expect("found"), Abort::Aborted);
    house.upstream.wait_for_abort_of("early").await;
    let events = collect(&turn, 0).await;
    assert_eq!(complete_of(&events).status, TurnStatus::Aborted);
    assert_eq!(house.turns.abort(turn.id()).await.expect("found"), Abort::AlreadyCompleted);
    let unknown = house.turns.abort(&greenroom_protocol::TurnId::random()).await;
    assert!(matches!(unknown, Err(TurnError::NotFound)));
}

#[tokio::test]
async fn abort_in_mid_stream_keeps_the_partial_text() {
    let house = House::open().await;
    let turn = house.begin(house.plan("[[chunks=9]][[hang=3]] middle")).await;
    until_text(&turn, "t2").await;
    turn.end(EndWish::Abort);
    house.upstream.wait_for_abort_of("middle").await;
    let events = collect(&turn, 0).await;
    assert_eq!(text_of(&events), "t0 t1 t2 ");
    assert_eq!(complete_of(&events).status, TurnStatus::Aborted);
    let finishes = events.iter().filter(|e| matches!(e, TurnEvent::Finish(f) if f.reason == FinishReason::Stop));
    assert_eq!(finishes.count(), 1);
    let stored = house.namespace.latest(None, None, 10).await.expect("history");
    assert_eq!((stored[0].content.as_str(), stored[0].partial), ("t0 t1 t2 ", true));
    let detail = house.turns.logs().get(turn.id()).await.expect("stored");
    assert_eq!(detail.status, "aborted");
    assert_eq!(detail.error_text.as_deref(), Some("Aborted via chat.abort"));
}

#[tokio::test]
async fn a_superseded_turn_is_really_cancelled() {
    let house = House::open().await;
    let turn = house.begin(house.plan("[[chunks=9]][[hang=1]] old")).await;
    until_text(&turn, "t0").await;
    turn.end(EndWish::Supersede);
    house.upstream.wait_for_abort_of("old").await;
    assert_eq!(complete_of(&collect(&turn, 0).await).status, TurnStatus::Cancelled);
}

#[tokio::test]
async fn a_cut_stream_never_looks_finished() {
    let house = House::open().await;
    for (prompt, code) in [
        ("[[chunks=9]][[cut=3]]", "provider_interrupted"),
        ("[[chunks=9]][[end=3]]", "provider_interrupted"),
        ("[[chunks=9]][[garbage=3]]", "provider_interrupted"),
    ] {
        let (turn, events) = house.run(house.plan(prompt)).await;
        let complete = complete_of(&events);
        assert_eq!(complete.status, TurnStatus::Error, "{prompt}");
        let error = events.iter().find_map(|event| match event {
            TurnEvent::Finish(finish) => finish.error.clone(),
            _ => None,
        });
        assert_eq!(error.and_then(|e| e.code).as_deref(), Some(code), "{prompt}");
        assert_eq!(text_of(&events), "t0 t1 t2 ", "{prompt}");
        let detail = house.turns.logs().get(turn.id()).await.expect("stored");
        assert_eq!((detail.status.as_str(), detail.response.as_deref()), ("error", Some("t0 t1 t2 ")), "{prompt}");
    }
}

#[tokio::test]
async fn provider_errors_never_pose_as_the_assistant() {
    let house = House::open().await;
    for (prompt, code) in [
        ("[[status=500]]", "provider_unavailable"),
        ("[[status=401]]", "provider_auth"),
        ("[[hang_headers]]", "provider_timeout"),
    ] {
        let mut plan = house.plan(prompt);
        plan.persona = Arc::new(Persona { requires_memory: false, ..house.persona() });
        let (_, events) = house.run(plan).await;
        assert_eq!(text_of(&events), "", "{prompt}");
        let warnings = events.iter().filter_map(|event| match event {
            TurnEvent::Warning(warning) => Some(warning),
            _ => None,
        });
        let codes: Vec<_> = warnings.filter_map(|w| w.code.clone()).collect();
        assert_eq!(codes, [code], "{prompt}");
    }
    let roles = house.namespace.latest(None, None, 10).await.expect("history");
    assert!(roles.iter().all(|row| row.role == greenroom_protocol::Role::User));
    assert_eq!(roles.len(), 3, "what the user said is kept although the model failed");
}

#[tokio::test]
async fn an_empty_answer_is_told_as_such() {
    let house = House::open().await;
    let (_, events) = house.run(house.plan("[[chunks=0]]")).await;
    assert_eq!(complete_of(&events).status, TurnStatus::Timeout);
    assert!(events.iter().any(|event| matches!(event, TurnEvent::Warning(_))));
}

#[tokio::test]
async fn a_panicking_turn_ends_as_an_error_with_its_text_kept() {
    let house = House::open().await;
    let turn = house.begin(house.plan("[[chunks=9]][[hang=2]] crash")).await;
    until_text(&turn, "t1").await;
    turn.crash();
    let events = collect(&turn, 0).await;
    assert_eq!(complete_of(&events).status, TurnStatus::Error);
    house.upstream.wait_for_abort_of("crash").await;
    let detail = house.turns.logs().get(turn.id()).await.expect("stored");
    assert_eq!((detail.status.as_str(), detail.response.as_deref()), ("error", Some("t0 t1 ")));
    // The room goes on.
    let (_, events) = house.run(house.plan("again")).await;
    assert_eq!(complete_of(&events).status, TurnStatus::Ok);
}

#[tokio::test]
async fn a_crashed_journal_loses_nothing() {
    let house = House::open().await;
    let mut turns = Vec::new();
    for n in 0..8 {
        turns.push(house.begin(house.plan_for(&format!("user{n}"), "[[chunks=100]][[delay_ms=2]]")).await);
    }
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(40)).await;
        house.turns.crash_journal();
    }
    for turn in turns {
        let events = collect(&turn, 0).await;
        assert_eq!(complete_of(&events).status, TurnStatus::Ok);
        while house.turns.live(turn.id()).is_some() {
            tokio::task::yield_now().await;
        }
        let stored = house.turns.attach(turn.id()).await.expect("attaches");
        assert_eq!(collect(&stored, 0).await, events);
    }
}

#[tokio::test]
async fn a_turn_left_open_by_a_crash_is_closed_at_boot() {
    let house = House::open().await;
    let turn = house.begin(house.plan("[[chunks=9]][[hang=3]] boot")).await;
    until_text(&turn, "t2").await;
    // Wait until the journal has caught up, then start a second room on the same database, as a reboot would.
    while house.turns.journal_lag().0 > 0 || house.turns.logs().get(turn.id()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let group = house.root.group("turns after reboot").await.expect("group");
    let rebooted = greenroom_turn::Turns::start(
        group,
        house.database.store.clone(),
        house.turns.rooms().clone(),
        TurnsSettings::default(),
    )
    .await;
    let rebooted = rebooted.expect("turns");
    let detail = rebooted.logs().get(turn.id()).await.expect("stored");
    assert_eq!((detail.status.as_str(), detail.response.as_deref()), ("error", Some("t0 t1 t2 ")));
    assert_eq!(detail.error_text.as_deref(), Some("interrupted by restart"));
    let events = collect(&rebooted.attach(turn.id()).await.expect("attaches"), 0).await;
    assert_eq!((text_of(&events).as_str(), complete_of(&events).status), ("t0 t1 t2 ", TurnStatus::Error));
    let stored = house.namespace.latest(None, None, 10).await.expect("history");
    assert_eq!((stored[0].content.as_str(), stored[0].partial), ("t0 t1 t2 ", true));
}

#[tokio::test]
async fn draining_lets_turns_finish_and_ends_the_rest_with_a_stored_status() {
    let house = House::open().await;
    let quick = house.begin(house.plan_for("ann", "[[chunks=20]][[delay_ms=5]]")).await;
    let stuck = house.begin(house.plan_for("bob", "[[chunks=9]][[hang=1]]")).await;
    until_text(&stuck, "t0").await;
    house.turns.drain(Duration::from_millis(500)).await;
    assert!(matches!(house.turns.begin(house.plan("late")).await, Err(TurnError::Draining)));
    assert_eq!(complete_of(&collect(&quick, 0).await).status, TurnStatus::Ok);
    assert_eq!(complete_of(&collect(&stuck, 0).await).status, TurnStatus::Error);
    let filter = TurnFilter { limit: 10, preview_chars: 300, ..TurnFilter::default() };
    let page = house.turns.logs().list(&filter).await.expect("list");
    let statuses: Vec<_> = page.turns.iter().map(|turn| turn.status.as_str()).collect();
    assert!(page.total_count == 2 && statuses.contains(&"ok") && statuses.contains(&"error"), "{statuses:?}");
}

#[tokio::test]
async fn a_client_that_left_stops_only_what_it_asked_to_stop() {
    let settings = TurnsSettings { disconnect_grace: Duration::from_millis(20), ..TurnsSettings::default() };
    let house = House::with(settings).await;
    let mut plan = house.plan_for("bob", "[[chunks=9]][[hang=1]] goes");
    plan.cancel_on_disconnect = true;
    let goes = house.begin(plan).await;
    let stays = house.begin(house.plan("[[chunks=30]][[delay_ms=5]]")).await;
    for turn in [&goes, &stays] {
        until_text(turn, "t0").await;
        // Somebody who only waits for the end, as the bot's actor does, is no viewer.
        let waiting = turn.clone();
        tokio::spawn(async move { waiting.ended().await });
        let viewer = turn.view(0);
        drop(viewer);
    }
    house.upstream.wait_for_abort_of("goes").await;
    assert_eq!(complete_of(&collect(&goes, 0).await).status, TurnStatus::Aborted);
    assert_eq!(complete_of(&collect(&stays, 0).await).status, TurnStatus::Ok);
}

#[tokio::test]
async fn a_permit_comes_back_when_the_end_is_stored() {
    let house = House::open().await;
    let permits = Arc::new(tokio::sync::Semaphore::new(1));
    let mut plan = house.plan("[[chunks=2]]");
    plan.permit = permits.clone().try_acquire_owned().ok();
    let turn = house.begin(plan).await;
    assert_eq!(permits.available_permits(), 0);
    collect(&turn, 0).await;
    assert_eq!(permits.available_permits(), 1);
}

#[tokio::test]
async fn an_end_that_the_database_refuses_is_told_as_failed_and_holds_up_nobody() {
    let house = House::open().await;
    let turn = house.begin(house.plan("[[chunks=60]][[delay_ms=10]]")).await;
    until_text(&turn, "t0").await;
    while house.turns.logs().get(turn.id()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // From now on the database takes no answer of an assistant.
    let db = house.database.store.connection().await.expect("connection");
    db.batch_execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON messages FOR EACH ROW
         WHEN (NEW.role = 'assistant') EXECUTE FUNCTION refuse()",
    )
    .await
    .expect("a trigger");
    let events = collect(&turn, 0).await;
    assert_eq!(complete_of(&events).status, TurnStatus::Error);
    let error = events.iter().find_map(|event| match event {
        TurnEvent::Finish(finish) => finish.error.clone(),
        _ => None,
    });
    assert_eq!(error.and_then(|e| e.code).as_deref(), Some("storage_unavailable"));
    while house.turns.live(turn.id()).is_some() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let detail = house.turns.logs().get(turn.id()).await.expect("stored");
    assert_eq!(detail.status, "error");
    assert!(detail.response.is_some_and(|text| text.contains("t59")), "the text is in the turn log all the same");
    db.batch_execute("DROP TRIGGER refuse ON messages").await.expect("dropped");
    let (_, events) = house.run(house.plan("[[chunks=1]] again")).await;
    assert_eq!(complete_of(&events).status, TurnStatus::Ok);
}
