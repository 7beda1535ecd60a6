"""What the service answers, as frozen structs, one file a topic. Fields that a later service adds are passed over."""
