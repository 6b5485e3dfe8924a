-- Written so that SQLite and PostgreSQL both run it. Never edited once released; a change is a new file.
--
-- Times are seconds since 1970, names are lower-case A-labels without a trailing dot, lists and policies
-- are JSON text.

-- The one-row counter from which each change that signing depends on gets its revision, in the same
-- transaction. A sequence would not do: it commits out of order, and a follower would miss a change.
-- "forgotten" is the newest revision whose rows of the change log were dropped.
CREATE TABLE revision (
    only_row  BIGINT PRIMARY KEY CHECK (only_row = 1),
    newest    BIGINT NOT NULL,
    forgotten BIGINT NOT NULL
);
INSERT INTO revision (only_row, newest, forgotten) VALUES (1, 0, 0);

-- Which row changed. The row itself is read when the change is asked for.
CREATE TABLE change_log (
    revision   BIGINT PRIMARY KEY,
    kind       TEXT   NOT NULL,
    tenant_id  BIGINT NOT NULL,
    name       TEXT   NOT NULL,
    changed_at BIGINT NOT NULL
);

-- Numbers that are given out once.
CREATE TABLE last_number (
    kind  TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO last_number (kind, value) VALUES ('tenant', 0), ('api_key', 0), ('signing_key', 0);

-- What is true of this installation from its first start on, such as the check value of its master key.
CREATE TABLE installation_fact (
    name       TEXT PRIMARY KEY,
    value      TEXT   NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE platform (
    only_row               BIGINT PRIMARY KEY CHECK (only_row = 1),
    default_signing_domain TEXT,
    fbl_signing_domain     TEXT,
    policy                 TEXT NOT NULL
);
INSERT INTO platform (only_row, policy) VALUES (1, '{}');

-- Mailbox providers whose feedback loop follows DKIM.
CREATE TABLE provider (
    name        TEXT PRIMARY KEY,
    domains     TEXT NOT NULL,
    mx_suffixes TEXT NOT NULL,
    exclusions  TEXT NOT NULL,
    enrolled    TEXT NOT NULL
);

-- Tenant 0 is the platform's primary account. Tenants are never deleted.
CREATE TABLE tenant (
    id         BIGINT PRIMARY KEY,
    name       TEXT   NOT NULL,
    status     TEXT   NOT NULL,
    pool       TEXT,
    policy     TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
INSERT INTO tenant (id, name, status, policy, created_at, updated_at) VALUES (0, '', 'active', '{}', 0, 0);

-- Keys are random, so that one SHA-256 is their hash. The key itself is shown once and kept nowhere.
CREATE TABLE api_key (
    id         BIGINT PRIMARY KEY,
    tenant_id  BIGINT NOT NULL REFERENCES tenant (id),
    hash       BYTEA  NOT NULL UNIQUE,
    short_key  TEXT   NOT NULL,
    label      TEXT   NOT NULL,
    grants     TEXT   NOT NULL,
    valid_ips  TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT
);
CREATE INDEX api_key_by_tenant ON api_key (tenant_id);

-- Several tenants may claim a domain; one of them at most has it verified.
CREATE TABLE domain (
    tenant_id              BIGINT  NOT NULL REFERENCES tenant (id),
    name                   TEXT    NOT NULL,
    ownership_verified     BOOLEAN NOT NULL,
    verified_at            BIGINT,
    dkim_status            TEXT    NOT NULL,
    last_check             BIGINT,
    last_good_check        BIGINT,
    suspect_since          BIGINT,
    check_error            TEXT,
    next_check             BIGINT  NOT NULL,
    sharing                TEXT    NOT NULL,
    subdomains             TEXT    NOT NULL,
    enrolled               TEXT    NOT NULL,
    attributes             TEXT    NOT NULL,
    created_at             BIGINT  NOT NULL,
    updated_at             BIGINT  NOT NULL,
    PRIMARY KEY (tenant_id, name)
);
CREATE UNIQUE INDEX domain_owner ON domain (name) WHERE ownership_verified = TRUE;
CREATE INDEX domain_by_name ON domain (name);
CREATE INDEX domain_by_next_check ON domain (next_check);

-- Rows are never deleted: one without its private half is the tombstone that keeps the selector from
-- being used for another key.
CREATE TABLE signing_key (
    id              BIGINT PRIMARY KEY,
    tenant_id       BIGINT NOT NULL REFERENCES tenant (id),
    domain          TEXT   NOT NULL,
    selector        TEXT   NOT NULL,
    label           TEXT,
    algorithm       TEXT   NOT NULL,
    sealed          BYTEA,
    public_record   TEXT   NOT NULL,
    state           TEXT   NOT NULL,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    first_seen      BIGINT,
    last_good_check BIGINT
);
CREATE UNIQUE INDEX signing_key_in_use ON signing_key (tenant_id, domain, selector)
    WHERE sealed IS NOT NULL;
CREATE UNIQUE INDEX signing_key_label ON signing_key (tenant_id, domain, label)
    WHERE sealed IS NOT NULL AND label IS NOT NULL;
CREATE INDEX signing_key_by_record ON signing_key (domain, selector);

-- Pool ids are lower case here, since they compare without regard to case. NULL grants mean all tenants.
CREATE TABLE pool (
    id                        TEXT PRIMARY KEY,
    name                      TEXT   NOT NULL,
    signing_domain            TEXT,
    fbl_signing_domain        TEXT,
    auto_warmup_overflow_pool TEXT,
    grants                    TEXT,
    next_hop                  TEXT,
    policy                    TEXT   NOT NULL,
    created_at                BIGINT NOT NULL,
    updated_at                BIGINT NOT NULL
);
INSERT INTO pool (id, name, policy, created_at, updated_at) VALUES ('default', 'default', '{}', 0, 0);
