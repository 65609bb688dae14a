"""What the report writes: pages of cells, groups, studies and of all studies, from the templates beside them."""
