"""What the database is asked for ratings."""

from datetime import UTC, datetime

from sqlalchemy import insert

from app.catalog.models import ReviewRow
from app.catalog.ratings_repository import DatabaseRatings, best_statement
from app.catalog.repository import DatabaseStore
from app.catalog.schemas import ProductDraft
from app.settings import Settings
from tests.catalog.products import draft
from tests.databases import Explain, Plan, opened

# For the planner to take the trouble.
_ENOUGH = 4_000


async def test_the_best_are_not_sorted(settings: Settings, explain: Explain) -> None:
    """However many products there are: they are read from the end of their index."""
    now = datetime.now(UTC)
    async with opened(settings) as database:
        async with DatabaseStore(database).writing() as writer:
            ids = await writer.add_all([ProductDraft(**draft()) for _ in range(_ENOUGH)], now)
            review = {"author": "A", "text": "", "created_at": now}
            reviews = [{"product_id": each, "rating": each % 5 + 1, **review} for each in ids]
            await writer._session.execute(insert(ReviewRow), reviews)
        await DatabaseRatings(database).recount(0, _ENOUGH, now)
        plan = await explain(database, best_statement(10))
    index = "ix_product_rating_rating_average_reviews_product_id"
    assert plan == Plan(index=index, bounded=False, sorts=False)
