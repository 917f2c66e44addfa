"""From the outside: what README promises, and the bundled models as users get them."""
