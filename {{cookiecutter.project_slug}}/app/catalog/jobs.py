"""What the catalogue does in the background."""

from datetime import timedelta

from app.catalog.price_lists import ImportResult, PriceLists
from app.catalog.ratings import Ratings
from app.errors import Unavailable
from app.infra.tasks import Job, Run, Tasks


async def import_prices(run: Run, price_list_id: str) -> ImportResult:
    """Add or replace the products of a price list."""
    price_lists: PriceLists = run.rooms["price_lists"]
    return await price_lists.import_all(run, price_list_id)


async def tidy_price_lists(run: Run) -> int:
    """Remove price lists that nobody needs any more; how many."""
    price_lists: PriceLists = run.rooms["price_lists"]
    tasks: Tasks = run.rooms["tasks"]
    return await price_lists.tidy(tasks)


async def recount_ratings(run: Run) -> None:
    """Bring the ratings of all products up to date."""
    ratings: Ratings = run.rooms["ratings"]
    await ratings.recount(run)


JOBS = (
    Job(import_prices, retry_on=(Unavailable,), time_limit_seconds=3_600),
    Job(tidy_price_lists, every=timedelta(minutes=10)),
    Job(recount_ratings, every=timedelta(minutes=5)),
)
