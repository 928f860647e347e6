-- What the commands in the skills work on: a small shop.
CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer int NOT NULL REFERENCES customers,
                     amount numeric(10, 2) NOT NULL, placed timestamptz NOT NULL DEFAULT now());
CREATE INDEX orders_by_customer ON orders (customer);
INSERT INTO customers SELECT n, 'customer ' || n FROM generate_series(1, 100) n;
INSERT INTO orders (customer, amount) SELECT 1 + n % 100, n % 50 + 1 FROM generate_series(1, 1000) n;
