"""Made-up agencies and the small businesses they look after."""

from __future__ import annotations

AGENCIES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "Harbor Lane Marketing",
        (
            "Bluewater Dental Care", "Old Mill Bakery", "Corner Street Yoga",
            "Finch & Sons Roofing", "Maple Grove Veterinary", "Tidewater Auto Repair",
            "Lantern Coffee Roasters", "Seaside Family Law", "Bright Path Tutoring",
            "Pinecrest Landscaping",
            "Copper Kettle Catering", "Harborview Physical Therapy", "Silver Birch Florist",
            "Northgate Plumbing", "Willow & Wren Salon", "Beacon Hill Chiropractic",
            "Golden Oak Furniture",
        ),
    ),
    (
        "Summit & Stone Agency",
        (
            "Alpine Bike Works", "Redrock Climbing Gym", "Juniper Skin Clinic",
            "Mesa Verde Realty", "Cottonwood Pediatrics", "High Desert HVAC",
            "Canyon Creek Brewing", "Sagebrush Insurance", "Two Rivers Optometry",
            "Prairie Home Cleaning", "Foothill Orthodontics", "Wildflower Day Spa",
            "Granite State Movers", "Larkspur Pet Grooming", "Timberline Electric",
        ),
    ),
    (
        "Pixel & Pine Studio",
        (
            "Riverside Pilates", "Hazel Street Books", "Orchard Park Dentistry",
            "Kestrel Photography", "Brick Lane Barbers", "Greenhouse Garden Centre",
            "Saffron Table Restaurant", "Clearwater Pools",
        ),
    ),
)  # fmt: skip


def sample_names(index: int) -> tuple[str, tuple[str, ...]]:
    """(agency, its sub-accounts) number `index`; numbered names once the list is used up."""
    name, locations = AGENCIES[index % len(AGENCIES)]
    round_number = index // len(AGENCIES)
    return (f"{name} {round_number + 1}" if round_number else name), locations
