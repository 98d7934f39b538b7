"""What is rolled out: the values, their keys in a store, and who follows and changes them."""
