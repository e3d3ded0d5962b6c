"""One body on its way through the rules of its endpoint."""

from dataclasses import dataclass, field

from neuronetz_gateway.domain.request_policy import RequestPolicy
from neuronetz_gateway.errors import RequestBeyondPolicyError


@dataclass(slots=True)
class Screening:
    """The policy that holds for a body, the paths of what was adjusted so far, the images met so far."""

    policy: RequestPolicy = RequestPolicy()  # noqa: RUF009 - frozen: all may share it
    adjusted: list[str] = field(default_factory=list)
    images: int = 0

    def count_images(self, count: int, path: str) -> None:
        """Raises RequestBeyondPolicyError: there are more than one request may bring."""
        self.images += count
        if self.images > self.policy.max_images:
            most = self.policy.max_images
            mend = f"send at most {most} in one request" if most else "this key may send none"
            raise RequestBeyondPolicyError(f"'{path}' is one image too many: {mend}.", field=path)
