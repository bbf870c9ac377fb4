//! The image of the life that a container is about to begin (see [`crate::image`]).

use bramble_wire::object::{Container, Pod};

use super::Pass;
use crate::image::{self, Step};
use crate::observed::Image;

/// Why a life can't begin yet.
pub(super) struct NoImage {
    /// CamelCase, as Kubernetes shows it.
    pub(super) reason: String,
    /// For a person; may be empty.
    pub(super) message: String,
    /// When to look again.
    pub(super) wake: Option<u64>,
}

impl Pass<'_> {
    /// The image of life number `life`, or why it is not there; notes in [`super::Plan::pulls`] what
    /// would help. To be asked only when that life may begin: with policy `Always` it asks the
    /// registry.
    pub(super) fn image_of(
        &mut self,
        pod: &Pod,
        container: &Container,
        life: u32,
    ) -> Result<Image, NoImage> {
        let state = self.observed.images.get(&container.image);
        let pulls = &self.observed.pulls;
        match image::step(self.desired, state, pulls, pod, container, life, self.now) {
            Step::Ready { image, hold } => {
                self.plan.pulls.extend(hold);
                Ok(image)
            }
            Step::Wait {
                reason,
                message,
                wake,
                want,
            } => {
                self.plan.pulls.extend(want);
                Err(NoImage {
                    reason,
                    message,
                    wake,
                })
            }
        }
    }
}
