"""Jobs of many prompts: requests in a file, media in a folder, interrupted at will. No torch outside of the workers."""
