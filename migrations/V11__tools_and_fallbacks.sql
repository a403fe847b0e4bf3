-- Tool calls say what a repetition would do and how they ended; bots and models name who answers in their place.

-- read_only, idempotent or dangerous; NULL when nobody declared it.
ALTER TABLE tool_call_records ADD COLUMN effects text CHECK (effects IN ('read_only', 'idempotent', 'dangerous'));
-- NULL while the call runs.
ALTER TABLE tool_call_records ADD COLUMN ok boolean;

ALTER TABLE bot_profiles ADD COLUMN model_fallbacks text[] NOT NULL DEFAULT '{}';
ALTER TABLE model_definitions ADD COLUMN fallbacks text[] NOT NULL DEFAULT '{}';
