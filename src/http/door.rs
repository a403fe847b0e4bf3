//! The actor `http`: keeps accepting. The listening socket is bound before it and outlives it, and connections belong to
//! the house, so a restart of this actor costs nobody a stream and refuses nobody a connection.

use std::sync::Arc;

use greenroom_kit::{Address, ChildSpec, Policy, Supervisor, Told, child};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::front;
use crate::house::House;

/// What the door is told.
pub enum DoorMsg {
    /// Internal: accepting is over, for this reason.
    Ended(String),
}

/// What the door works with.
pub struct DoorArgs {
    listener: Arc<std::net::TcpListener>,
    house: Arc<House>,
    me: Address<DoorMsg>,
}

/// The actor.
pub struct Door;

/// Its work.
pub struct DoorState {
    _accepting: AbortOnDropHandle<()>,
}

/// The spec of the door under `group`.
pub fn door(
    group: &Supervisor,
    listener: Arc<std::net::TcpListener>,
    house: Arc<House>,
) -> (Address<DoorMsg>, ChildSpec) {
    let address = Address::vacant(group.card("http", "door"));
    let me = address.clone();
    let make = move || (Door, DoorArgs { listener: listener.clone(), house: house.clone(), me: me.clone() });
    let spec = child(&address, Policy::DOOR, make);
    (address, spec)
}

impl Actor for Door {
    type Msg = Told<DoorMsg>;
    type State = DoorState;
    type Arguments = DoorArgs;

    async fn pre_start(&self, _: ActorRef<Told<DoorMsg>>, args: DoorArgs) -> Result<DoorState, ActorProcessingErr> {
        let listener = args.listener.try_clone()?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let (house, me) = (args.house, args.me);
        let card = me.card().clone();
        let accepting = AbortOnDropHandle::new(tokio::spawn(async move {
            let connections = house.connections.clone();
            let answer = move |request| front::answer(house.clone(), request);
            match connections.accept(&listener, &card, answer).await {
                Ok(never) => match never {},
                Err(error) => error.to_string(),
            }
        }));
        let watching = tokio::spawn(async move {
            let why = accepting.await.unwrap_or_else(|error| error.to_string());
            // Gone only when the door is stopping anyway.
            let _ = me.tell(DoorMsg::Ended(why));
        });
        Ok(DoorState { _accepting: AbortOnDropHandle::new(watching) })
    }

    async fn handle(
        &self,
        _: ActorRef<Told<DoorMsg>>,
        told: Told<DoorMsg>,
        _: &mut DoorState,
    ) -> Result<(), ActorProcessingErr> {
        let (msg, _work) = told.open();
        match msg {
            DoorMsg::Ended(why) => Err(format!("accepting ended: {why}").into()),
        }
    }
}
