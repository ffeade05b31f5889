-- What was sold, and the instant from which it could be known.
SELECT p.ds, s.shop, s.sold, s.known_at AS label_known_at
FROM sales AS s
INNER JOIN partitions AS p ON s.sold_on = p.day
