//! The messages as a stranger's protobuf library sees them: by descriptor, without generated code.

use std::path::Path;

use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor};
use serde_json::Value;

/// The messages of `frame.proto` and all that it imports.
pub(crate) fn pool() -> DescriptorPool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files =
        protox::compile(["damso/v1/frame.proto"], [root]).expect("the .proto files compile");
    DescriptorPool::from_file_descriptor_set(files).expect("the .proto files agree")
}

/// The message `name` of the package.
pub(crate) fn message(pool: &DescriptorPool, name: &str) -> MessageDescriptor {
    pool.get_message_by_name(&format!("damso.v1.{name}")).expect("a message of the protocol")
}

/// Bytes as protobuf's own JSON.
pub(crate) fn to_json(message: &MessageDescriptor, bytes: &[u8]) -> Value {
    let message = DynamicMessage::decode(message.clone(), bytes).expect("a whole message");
    let mut json = serde_json::to_value(&message).expect("every message has a JSON form");
    // Whatever features other packages ask of the library.
    json.sort_all_objects();
    json
}

/// Protobuf's own JSON as bytes.
pub(crate) fn from_json(message: &MessageDescriptor, json: &str) -> Vec<u8> {
    use prost_reflect::prost::Message as _;
    let mut json = serde_json::Deserializer::from_str(json);
    let options = DeserializeOptions::new();
    let message = DynamicMessage::deserialize_with_options(message.clone(), &mut json, &options);
    message.expect("the JSON form of a message").encode_to_vec()
}
