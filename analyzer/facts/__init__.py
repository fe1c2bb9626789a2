"""What a measurement stores: records that add up, and the table and profile made of them."""
