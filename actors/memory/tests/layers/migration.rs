//! The migration to memory layers on a database that is in use.

use greenroom_store::testing::empty_database;
use tokio_postgres::NoTls;

const BEFORE: [&str; 5] = [
    include_str!("../../../../migrations/V1__extensions.sql"),
    include_str!("../../../../migrations/V2__model_definitions.sql"),
    include_str!("../../../../migrations/V3__bots_and_settings.sql"),
    include_str!("../../../../migrations/V4__messages.sql"),
    include_str!("../../../../migrations/V5__turns.sql"),
];
const LAYERS: &str = include_str!("../../../../migrations/V6__memory_layers.sql");

#[tokio::test]
async fn what_was_said_before_stays_and_is_queued_for_embedding() {
    let (mut client, connection) = tokio_postgres::connect(&empty_database().await, NoTls).await.expect("connected");
    tokio::spawn(connection);
    for migration in BEFORE {
        client.batch_execute(migration).await.expect("migrated");
    }
    client
        .batch_execute(
            "CREATE TABLE one_messages (LIKE messages INCLUDING ALL EXCLUDING IDENTITY);
             ALTER TABLE messages ATTACH PARTITION one_messages FOR VALUES IN ('one');
             INSERT INTO messages (bot_id, id, role, content, ts, user_id)
             SELECT 'one', gen_random_uuid(), role, 'walking dogs', now(), 'ann'
               FROM unnest(ARRAY['user', 'assistant', 'tool', 'system']) AS role",
        )
        .await
        .expect("a bot of old");
    let transaction = client.transaction().await.expect("transaction");
    transaction.batch_execute(LAYERS).await.expect("migrated");
    transaction.commit().await.expect("committed");
    let count = async |sql: &str| client.query_one(sql, &[]).await.expect("row").get::<_, i64>(0);
    assert_eq!(count("SELECT count(*) FROM message_embedding_queue").await, 2);
    assert_eq!(count("SELECT count(*) FROM messages WHERE content_tsv @@ to_tsquery('english', 'dog')").await, 4);
    let indexed = "SELECT count(*) FROM pg_indexes WHERE tablename = 'one_messages' AND indexdef LIKE '%content_tsv%'";
    assert_eq!(count(indexed).await, 1);
}
