"""A backbone with its cache and guidance, bound to a batch of prompts: scored, and rewound."""
