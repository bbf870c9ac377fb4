//! What the node has of an object, for a controller whose store lacks it.

use std::sync::Arc;

use bramble_agent_core::session::Document;
use bramble_wire::object::ObjectId;
use bramble_wire::stream::{Out, channel};

use super::sender::Sender;

/// Sends the object; nothing but the end when there is none.
pub(super) async fn serve(id: &ObjectId, document: Option<Arc<Document>>, sender: &Sender) {
    let body = document.and_then(|document| find(id, &document));
    let sent = async {
        sender.tell(Out::Ready).await?;
        sender.data(channel::OUT, &body.unwrap_or_default()).await
    };
    if sent.await.is_ok() {
        sender.end(None).await;
    }
}

/// Pods and ConfigMaps. Secrets and tokens are nobody's to ask for, sealed as they are.
fn find(id: &ObjectId, document: &Document) -> Option<Arc<[u8]>> {
    match id {
        ObjectId::Pod(_) | ObjectId::ConfigMap(_) => {}
        ObjectId::Node | ObjectId::Secret(_) | ObjectId::Tokens(_) => return None,
    }
    let stored = document
        .unclaimed
        .get(id)
        .or_else(|| document.objects.get(id));
    stored.map(|stored| Arc::clone(&stored.body))
}
