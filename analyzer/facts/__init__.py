"""What a measurement stores: records that add up, the table and the profile made of them. No torch."""
