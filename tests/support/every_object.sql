-- One database with every kind of object that pg_dump knows, and with names and values that hurt. For psql, with
-- ON_ERROR_STOP, as a superuser, in an empty database; PostgreSQL 13 to 18. Roles are made when they are not there.
-- Left out: security labels, which need a provider that no package has.
SELECT current_setting('server_version_num')::int >= 140000 AS v14, current_setting('server_version_num')::int >= 150000 AS v15,
  current_setting('server_version_num')::int >= 170000 AS v17, current_setting('server_version_num')::int >= 180000 AS v18 \gset
SET client_min_messages = warning;
SET check_function_bodies = on;

-- Roles and the database itself
SELECT 'CREATE ROLE clerk LOGIN PASSWORD ''secret of the clerk''' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'clerk') \gexec
SELECT 'CREATE ROLE "Boss; of ""all"""' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'Boss; of "all"') \gexec
GRANT clerk TO "Boss; of ""all""" WITH ADMIN OPTION;
ALTER ROLE clerk SET work_mem = '5MB';
COMMENT ON ROLE clerk IS 'CREATE ROLE nobody; who''s counting';
SELECT format('COMMENT ON DATABASE %1$I IS ''about DATABASE  %1$s;''; ALTER DATABASE %1$I SET search_path = "$user", public, "Odd. Schema";'
  'ALTER DATABASE %1$I CONNECTION LIMIT 77; GRANT CONNECT, TEMP ON DATABASE %1$I TO clerk WITH GRANT OPTION;'
  'REVOKE TEMP ON DATABASE %1$I FROM public; ALTER ROLE clerk IN DATABASE %1$I SET statement_timeout = ''7s'';'
  'ALTER DATABASE %1$I SET default_transaction_read_only = off', current_database()) \gexec

-- Schemas, default privileges
CREATE SCHEMA "Odd. Schema";
CREATE SCHEMA kept AUTHORIZATION clerk;
COMMENT ON SCHEMA kept IS 'two
lines';
GRANT USAGE ON SCHEMA "Odd. Schema" TO clerk;
ALTER DEFAULT PRIVILEGES IN SCHEMA kept GRANT SELECT ON TABLES TO "Boss; of ""all""";
ALTER DEFAULT PRIVILEGES FOR ROLE clerk REVOKE EXECUTE ON FUNCTIONS FROM public;

-- Types
CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'happy');
ALTER TYPE mood ADD VALUE 'very happy' AFTER 'happy';
CREATE TYPE pair AS (first int, "second Part" text COLLATE "C");
COMMENT ON COLUMN pair.first IS 'the first';
CREATE DOMAIN positive AS numeric(12, 3) DEFAULT 1 CONSTRAINT above_zero CHECK (value > 0);
ALTER DOMAIN positive ADD CONSTRAINT not_huge CHECK (value < 1e8) NOT VALID;
COMMENT ON CONSTRAINT above_zero ON DOMAIN positive IS 'really';
CREATE FUNCTION float_distance(float8, float8) RETURNS float8 LANGUAGE sql IMMUTABLE STRICT AS 'select $1 - $2';
CREATE TYPE floats AS RANGE (subtype = float8, subtype_diff = float_distance);
CREATE TYPE shell_only;
CREATE TYPE number;
CREATE FUNCTION number_in(cstring) RETURNS number LANGUAGE internal IMMUTABLE STRICT AS 'int4in';
CREATE FUNCTION number_out(number) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'int4out';
CREATE TYPE number (input = number_in, output = number_out, internallength = 4, passedbyvalue, alignment = int4);
COMMENT ON TYPE number IS 'a base type';
GRANT USAGE ON TYPE mood TO clerk;
REVOKE USAGE ON TYPE pair FROM public;

-- Functions, procedures, aggregates, operators, casts
CREATE FUNCTION number_eq(number, number) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'int4eq';
CREATE FUNCTION number_lt(number, number) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'int4lt';
CREATE FUNCTION number_le(number, number) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'int4le';
CREATE FUNCTION number_ge(number, number) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'int4ge';
CREATE FUNCTION number_gt(number, number) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'int4gt';
CREATE FUNCTION number_cmp(number, number) RETURNS int LANGUAGE internal IMMUTABLE STRICT AS 'btint4cmp';
CREATE OPERATOR = (leftarg = number, rightarg = number, function = number_eq, commutator = =, restrict = eqsel, join = eqjoinsel, hashes, merges);
CREATE OPERATOR < (leftarg = number, rightarg = number, function = number_lt, commutator = >, negator = >=);
CREATE OPERATOR <= (leftarg = number, rightarg = number, function = number_le, commutator = >=, negator = >);
CREATE OPERATOR >= (leftarg = number, rightarg = number, function = number_ge);
CREATE OPERATOR > (leftarg = number, rightarg = number, function = number_gt);
COMMENT ON OPERATOR = (number, number) IS 'equal';
CREATE OPERATOR FAMILY numbers USING btree;
CREATE OPERATOR CLASS number_ops DEFAULT FOR TYPE number USING btree FAMILY numbers AS
  OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 number_cmp(number, number);
CREATE CAST (number AS int) WITHOUT FUNCTION AS ASSIGNMENT;
CREATE CAST (int AS number) WITHOUT FUNCTION;
CREATE FUNCTION mood_number(mood) RETURNS int LANGUAGE sql IMMUTABLE AS $body$ SELECT length($1::text); -- a ; in it
$body$;
CREATE CAST (mood AS int) WITH FUNCTION mood_number(mood);
COMMENT ON CAST (mood AS int) IS 'by length';
CREATE FUNCTION adds(a int, b int DEFAULT 2, VARIADIC rest int[] DEFAULT '{}') RETURNS int LANGUAGE plpgsql STABLE PARALLEL SAFE
  COST 7 SET work_mem = '6MB' SET search_path = '' AS $$ BEGIN RETURN a + b; END $$;
CREATE FUNCTION rows_of(OUT a int, OUT b text) RETURNS SETOF record LANGUAGE sql ROWS 3 SECURITY DEFINER LEAKPROOF AS $$ VALUES (1, 'x'), (2, $q$y'$q$) $$;
COMMENT ON FUNCTION rows_of() IS 'a set';
REVOKE EXECUTE ON FUNCTION rows_of() FROM public;
GRANT EXECUTE ON FUNCTION rows_of() TO clerk;
CREATE PROCEDURE does(INOUT n int) LANGUAGE plpgsql AS $$ BEGIN n := n + 1; END $$;
CREATE FUNCTION my_row_number() RETURNS bigint LANGUAGE internal WINDOW IMMUTABLE AS 'window_row_number';
\if :v14
CREATE FUNCTION standard_body(n int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT n + 1; END;
CREATE TYPE floats_named AS RANGE (subtype = float8, multirange_type_name = many_floats);
\endif
CREATE AGGREGATE total(int) (sfunc = int4pl, stype = int, initcond = '0', combinefunc = int4pl, parallel = safe);
CREATE AGGREGATE middle(float8 ORDER BY anyelement) (sfunc = ordered_set_transition, stype = internal, finalfunc = percentile_disc_final, finalfunc_extra);
COMMENT ON AGGREGATE total(int) IS 'sum';

-- Languages, transforms, access methods, collations, conversions, text search
CREATE FUNCTION other_handler() RETURNS language_handler LANGUAGE c AS '$libdir/plpgsql', 'plpgsql_call_handler';
CREATE FUNCTION other_inline(internal) RETURNS void LANGUAGE c STRICT AS '$libdir/plpgsql', 'plpgsql_inline_handler';
CREATE FUNCTION other_validator(oid) RETURNS void LANGUAGE c STRICT AS '$libdir/plpgsql', 'plpgsql_validator';
CREATE TRUSTED LANGUAGE other HANDLER other_handler INLINE other_inline VALIDATOR other_validator;
COMMENT ON LANGUAGE other IS 'plpgsql by another name';
CREATE TRANSFORM FOR int LANGUAGE sql (FROM SQL WITH FUNCTION prsd_lextype(internal), TO SQL WITH FUNCTION int4recv(internal));
CREATE ACCESS METHOD heap_too TYPE TABLE HANDLER heap_tableam_handler;
CREATE ACCESS METHOD btree_too TYPE INDEX HANDLER bthandler;
CREATE COLLATION by_bytes FROM "C";
CREATE COLLATION kept.posix (locale = 'POSIX');
COMMENT ON COLLATION by_bytes IS 'C';
CREATE CONVERSION latin FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
CREATE TEXT SEARCH PARSER words (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype);
CREATE TEXT SEARCH TEMPLATE simply (INIT = dsimple_init, LEXIZE = dsimple_lexize);
CREATE TEXT SEARCH DICTIONARY plain_words (TEMPLATE = simply, accept = 'true');
CREATE TEXT SEARCH CONFIGURATION searching (PARSER = words);
ALTER TEXT SEARCH CONFIGURATION searching ADD MAPPING FOR asciiword WITH plain_words, simple;
COMMENT ON TEXT SEARCH CONFIGURATION searching IS 'words';

-- Extensions, where they are installed
SELECT count(*) > 0 AS has_trgm FROM pg_available_extensions WHERE name = 'pg_trgm' \gset
\if :has_trgm
CREATE EXTENSION pg_trgm SCHEMA kept;
COMMENT ON EXTENSION pg_trgm IS 'our own comment';
\endif

-- Sequences and tables
CREATE SEQUENCE counting AS smallint INCREMENT BY 3 MINVALUE -5 MAXVALUE 700 START WITH 10 CACHE 4 CYCLE;
SELECT nextval('counting'), nextval('counting');
CREATE UNLOGGED TABLE fleeting (i int);
INSERT INTO fleeting VALUES (1), (2);
\if :v15
CREATE UNLOGGED SEQUENCE fleeting_numbers;
\endif
CREATE TABLE customers (
  id int GENERATED ALWAYS AS IDENTITY (START WITH 100 INCREMENT BY 10) PRIMARY KEY,
  number number, "E-Mail" text COLLATE by_bytes NOT NULL DEFAULT 'nobody@example.org' UNIQUE DEFERRABLE INITIALLY DEFERRED,
  feeling mood DEFAULT 'happy', parts pair, parts_too pair[], price positive, span floats,
  born date CHECK (born > '1800-01-01'), doc jsonb, raw bytea, words tsvector, gone text
) WITH (fillfactor = 70, autovacuum_enabled = false);
ALTER TABLE customers DROP COLUMN gone;
ALTER TABLE customers ADD COLUMN "drei€" text GENERATED ALWAYS AS (upper("E-Mail" COLLATE "C")) STORED;
ALTER TABLE customers ALTER COLUMN raw SET STORAGE EXTERNAL, ALTER COLUMN born SET STATISTICS 300, ALTER COLUMN doc SET (n_distinct = 5);
ALTER TABLE customers REPLICA IDENTITY FULL;
COMMENT ON TABLE customers IS E'who \\ buys; \'here\'';
COMMENT ON COLUMN customers."E-Mail" IS 'to write to';
COMMENT ON CONSTRAINT customers_pkey ON customers IS 'the key';
INSERT INTO customers (number, "E-Mail", feeling, parts, parts_too, price, span, born, doc, raw, words)
  SELECT g::text::number, E'a\tb\\c\n' || g, (enum_range(null::mood))[1 + g % 4], row(g, E'x\\' || g)::pair, ARRAY[row(1, NULL)::pair], g + 0.125,
    floats(g, g + 0.1::float8), '2000-01-01'::date + g, jsonb_build_object('€', g, 'null', null), decode(md5(g::text), 'hex'), to_tsvector('simple', 'word ' || g)
  FROM generate_series(1, 300) g;
INSERT INTO customers ("E-Mail") VALUES (''), ('\.'), ('\N');
CREATE TABLE orders (
  id bigserial PRIMARY KEY, customer int REFERENCES customers ON DELETE SET NULL ON UPDATE CASCADE DEFERRABLE,
  at timestamptz DEFAULT '2026-01-01 00:00+00', during tstzrange, shelf int, EXCLUDE USING gist (during WITH &&)
);
INSERT INTO orders (customer, shelf) SELECT 100 + 10 * (g % 300), g FROM generate_series(1, 500) g;
UPDATE orders SET shelf = shelf + 1 WHERE id % 7 = 0;
ALTER TABLE orders ADD CONSTRAINT shelf_positive CHECK (shelf > 0) NOT VALID;
CREATE TABLE "Odd. Schema"."Odd ""Table"" (1)" ("a b" int, "select" text, UNIQUE ("a b") INCLUDE ("select"));
INSERT INTO "Odd. Schema"."Odd ""Table"" (1)" VALUES (1, 'x'), (NULL, 'y');
CREATE TABLE typed OF pair (first WITH OPTIONS NOT NULL, PRIMARY KEY (first));
CREATE TABLE by_other_method (i int) USING heap_too;
INSERT INTO by_other_method SELECT generate_series(1, 10);
CREATE TABLE no_columns ();
ALTER TABLE no_columns OWNER TO clerk;
GRANT SELECT ("E-Mail", born), UPDATE (born) ON customers TO clerk;
GRANT ALL ON orders TO "Boss; of ""all""" WITH GRANT OPTION;
GRANT USAGE ON SEQUENCE counting TO clerk;
\if :v15
CREATE TABLE no_two_nulls (a int, b text COMPRESSION pglz, UNIQUE NULLS NOT DISTINCT (a));
INSERT INTO no_two_nulls VALUES (NULL, 'one');
\endif
\if :v18
CREATE TABLE newest (id int4range, a int, b int GENERATED ALWAYS AS (a * 2) VIRTUAL, during daterange,
  CONSTRAINT stays NOT NULL a, PRIMARY KEY (id, during WITHOUT OVERLAPS), CONSTRAINT loose CHECK (a > 0) NOT ENFORCED);
INSERT INTO newest (id, a, during) VALUES ('[1,2)', 5, '[2026-01-01,2026-02-01)');
\endif

-- Inheritance and partitions
CREATE TABLE parent (a int NOT NULL CHECK (a > 0), b text DEFAULT 'p');
CREATE TABLE other_parent (c int CHECK (c < 1000) NO INHERIT);
CREATE TABLE child (a int DEFAULT 5, d int) INHERITS (parent, other_parent);
INSERT INTO parent VALUES (1), (2);
INSERT INTO child (c, d) VALUES (3, 4);
CREATE TABLE measured (at date NOT NULL, place text, v numeric, PRIMARY KEY (at, place)) PARTITION BY RANGE (at);
CREATE TABLE measured_2025 PARTITION OF measured FOR VALUES FROM (MINVALUE) TO ('2026-01-01');
CREATE TABLE measured_2026 PARTITION OF measured FOR VALUES FROM ('2026-01-01') TO ('2027-01-01') PARTITION BY LIST (place);
CREATE TABLE measured_here PARTITION OF measured_2026 (v DEFAULT 9) FOR VALUES IN ('here', 'it''s');
CREATE TABLE measured_else PARTITION OF measured_2026 DEFAULT;
CREATE TABLE attached (place text NOT NULL, extra int, v numeric, at date NOT NULL);
ALTER TABLE attached DROP COLUMN extra;
ALTER TABLE measured ATTACH PARTITION attached FOR VALUES FROM ('2027-01-01') TO (MAXVALUE);
CREATE INDEX measured_v ON measured (v) WHERE v > 10;
CREATE INDEX measured_expression ON ONLY measured ((v * 2));
INSERT INTO measured SELECT '2025-06-01'::date + g * 3, CASE WHEN g % 3 = 0 THEN 'here' ELSE 'there' END, g FROM generate_series(1, 400) g;
CREATE TABLE hashed (k int, v text) PARTITION BY HASH (k);
CREATE TABLE hashed_0 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE hashed_1 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO hashed SELECT g, 'v' || g FROM generate_series(1, 50) g;
CREATE TABLE refers (at date, place text, FOREIGN KEY (at, place) REFERENCES measured);
INSERT INTO refers SELECT at, place FROM measured LIMIT 5;

-- Indexes, statistics, rules, triggers, policies
CREATE INDEX customers_words ON customers USING gin (words);
CREATE INDEX customers_doc ON customers USING gin (doc jsonb_path_ops) WITH (fastupdate = off);
CREATE INDEX customers_brin ON customers USING brin (born) WITH (pages_per_range = 4);
CREATE INDEX customers_hash ON customers USING hash ("E-Mail");
CREATE UNIQUE INDEX customers_lower ON customers (lower("E-Mail") COLLATE "C" text_pattern_ops DESC NULLS LAST, number) WHERE born IS NOT NULL;
COMMENT ON INDEX customers_lower IS 'by lower case';
CREATE INDEX parent_b ON parent (b);
ALTER TABLE parent CLUSTER ON parent_b;
ALTER INDEX customers_lower ALTER COLUMN 1 SET STATISTICS 400;
CREATE STATISTICS born_and_price (ndistinct, dependencies, mcv) ON born, price FROM customers;
ALTER STATISTICS born_and_price SET STATISTICS 50;
COMMENT ON STATISTICS born_and_price IS 'together';
\if :v14
CREATE STATISTICS of_expression ON (born + 1), (lower("E-Mail")) FROM customers;
\endif
CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER before_row BEFORE INSERT OR UPDATE OF born ON customers FOR EACH ROW WHEN (NEW.born IS NOT NULL) EXECUTE FUNCTION noted('a', 'b''c');
CREATE TRIGGER after_all AFTER UPDATE ON customers REFERENCING OLD TABLE AS was NEW TABLE AS is_now FOR EACH STATEMENT EXECUTE FUNCTION noted();
CREATE CONSTRAINT TRIGGER later AFTER DELETE ON orders DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION noted();
CREATE TRIGGER of_partitions AFTER INSERT ON measured FOR EACH ROW EXECUTE FUNCTION noted();
ALTER TABLE customers DISABLE TRIGGER before_row;
ALTER TABLE customers ENABLE REPLICA TRIGGER after_all;
COMMENT ON TRIGGER before_row ON customers IS 'off';
CREATE RULE quietly AS ON DELETE TO parent WHERE old.a > 100 DO INSTEAD NOTHING;
ALTER TABLE parent DISABLE RULE quietly;
COMMENT ON RULE quietly ON parent IS 'no';
ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
ALTER TABLE no_columns FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON orders AS RESTRICTIVE FOR UPDATE TO clerk, "Boss; of ""all""" USING (customer > 0) WITH CHECK (shelf > 0);
COMMENT ON POLICY own ON orders IS 'their own';

-- Views
CREATE VIEW seen WITH (security_barrier) AS SELECT id, "E-Mail" FROM customers WHERE born IS NOT NULL WITH LOCAL CHECK OPTION;
CREATE RECURSIVE VIEW up_to(n) AS VALUES (1) UNION ALL SELECT n + 1 FROM up_to WHERE n < 5;
CREATE VIEW grouped AS SELECT id, "E-Mail", count(*) FROM customers GROUP BY id;
COMMENT ON VIEW seen IS 'seen';
COMMENT ON COLUMN seen.id IS 'its id';
ALTER VIEW seen ALTER COLUMN id SET DEFAULT 3;
CREATE MATERIALIZED VIEW summed AS SELECT customer, count(*) AS orders FROM orders GROUP BY customer;
CREATE UNIQUE INDEX ON summed (customer);
CREATE MATERIALIZED VIEW summed_again AS SELECT count(*) FROM summed;
CREATE MATERIALIZED VIEW not_filled AS SELECT 1 AS one WITH NO DATA;
GRANT SELECT ON summed TO clerk;

-- Foreign data
CREATE FOREIGN DATA WRAPPER elsewhere OPTIONS (debug 'true');
CREATE SERVER far TYPE 'x' VERSION '1' FOREIGN DATA WRAPPER elsewhere OPTIONS (host 'h;', port '1');
CREATE USER MAPPING FOR clerk SERVER far OPTIONS (password 'p''w');
CREATE USER MAPPING FOR public SERVER far;
CREATE FOREIGN TABLE far_away (a int OPTIONS (column_name 'b') NOT NULL, c text) SERVER far OPTIONS (schema_name 's');
GRANT USAGE ON FOREIGN DATA WRAPPER elsewhere TO clerk;
GRANT USAGE ON FOREIGN SERVER far TO clerk;
COMMENT ON SERVER far IS 'far';

-- Publications and subscriptions
CREATE PUBLICATION everything FOR ALL TABLES WITH (publish = 'insert, update');
CREATE PUBLICATION "Some" FOR TABLE parent, ONLY measured WITH (publish_via_partition_root = true);
COMMENT ON PUBLICATION "Some" IS 'some';
\if :v15
CREATE PUBLICATION by_schema FOR TABLES IN SCHEMA kept;
CREATE PUBLICATION filtered FOR TABLE orders (id, shelf) WHERE (shelf > 10);
\endif
CREATE SUBSCRIPTION from_nowhere CONNECTION 'host=/nowhere dbname=x' PUBLICATION p, "Q" WITH (connect = false, slot_name = NONE);

-- Large objects
SELECT lo_from_bytea(424242, 'large; object'::bytea), lo_from_bytea(424243, ''::bytea);
COMMENT ON LARGE OBJECT 424242 IS 'large';
GRANT SELECT ON LARGE OBJECT 424242 TO clerk;
ALTER LARGE OBJECT 424243 OWNER TO clerk;

-- Last, because it would see all of the above
CREATE FUNCTION ddl_seen() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM 1; END $$;
CREATE EVENT TRIGGER watching ON ddl_command_end WHEN TAG IN ('CREATE TABLE', 'DROP TABLE') EXECUTE FUNCTION ddl_seen();
ALTER EVENT TRIGGER watching ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER watching IS 'watching';
