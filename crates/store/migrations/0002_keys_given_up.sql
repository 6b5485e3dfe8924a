-- Finds the keys whose time in the DNS is over without going through all of them.
CREATE INDEX signing_key_given_up ON signing_key (updated_at) WHERE sealed IS NULL;
