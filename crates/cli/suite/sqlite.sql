-- Tables in memory: filling, indexes, joins, groups, full rows of text sorted, updates and deletions.
PRAGMA temp_store = MEMORY;
PRAGMA cache_size = -200000;
CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT, town INTEGER, note TEXT);
CREATE TABLE visit(id INTEGER PRIMARY KEY, person INTEGER, day INTEGER, amount REAL, remark TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < @N@ * 2)
INSERT INTO person SELECT i, 'name ' || (i * 7919 % 100003), i % 97, printf('%0*d', i % 60, i) FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < @N@ * 8)
INSERT INTO visit SELECT i, 1 + i * 31 % (@N@ * 2), i * 17 % 365, i * 13 % 1000 / 7.0, 'visit ' || i || ' of ' || (i * 31 % 1009) FROM n;
CREATE INDEX by_name ON person(name);
CREATE INDEX by_person ON visit(person, day);
SELECT town, count(*), sum(amount), max(remark) FROM person JOIN visit ON visit.person = person.id GROUP BY town ORDER BY town;
SELECT day, count(DISTINCT person), group_concat(substr(remark, 7, 3)) FROM visit WHERE day % 73 = 5 GROUP BY day;
SELECT count(*), length(group_concat(name)) FROM (SELECT name FROM person ORDER BY note, name);
UPDATE visit SET remark = remark || ' changed', amount = amount * 1.5 WHERE day < 120;
DELETE FROM visit WHERE person % 5 = 0;
SELECT remark, sum(amount) OVER (PARTITION BY day ORDER BY id) FROM visit WHERE day = 77 ORDER BY remark LIMIT 20;
SELECT json_group_array(json_object('id', id, 'name', name)) FROM person WHERE town = 3 AND id < 2000;
SELECT count(*), sum(amount), sum(length(remark)) FROM visit;
